# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: kdnb
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kdnb:
#     papers: []
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own images
#
# This notebook takes your images, your networks and a method of the workbook. It trains a student with a teacher,
# compares it with the same student trained on labels alone over several paired seeds, plots the results, and writes the
# student to files that other programs can read. Every file is read back and compared with the network before it is
# kept.
#
# As it stands it runs on 400 images of MNIST, in about a minute on a laptop. Change the parameters in the next cell, or leave the
# notebook as it is and give them on the command line:
#
#     kdnb run your-own --set source=photos --set image_size=64 --set channels=3 \
#         --set teacher=timm:resnet34 --set teacher_weights= --set student=timm:resnet10t
#
# `papermill notebooks/your-own.ipynb out.ipynb -p source photos -y "options: [temperature, 2]"` does the same with
# papermill alone. Both work unattended: a wrong value is refused before anything is trained. Relative paths, and
# modules of your own, are looked up from the workbook's folder.
#
# For tables and text see [the notebook on tables](your-table.ipynb); for everything else that kdnb's functions accept,
# see [docs/your-data.md](../docs/your-data.md).

# %% tags=["parameters"]
source = "mnist"  # a data set (kdnb data), a folder with one folder of images for each class, or an .npz file
images = 400  # training images of the student, as many of each class; 0 for all
held_out_images = 2000  # that the students are measured on; 0 for all
image_size = 0  # height and width to which files are scaled; 0 for files of one size
channels = 0  # 1 for grey, 3 for coloured files; 0 as the first file has it
student = "lenet5_half_dafl"  # kdnb's, timm:NAME, torchvision:NAME, or module:NAME of your own
teacher = "mlp"  # the same
teacher_weights = "mnist"  # the data set on which it comes trained, a .safetensors file, or empty: trained here
method = "kd"  # a name of the catalogue
options = ["temperature", 4, "label_weight", 0.1]  # of the method: names and values in turn
epochs = 30  # of every training
lr = 0.003
seeds = 6  # paired repetitions
formats = []  # of the exported student; empty for all that this machine makes
folder = ""  # for the exported files; empty for your-own/ in the folder of the runs

# %%
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

import kdnb
from kdnb import data, figures, nets, paths, workbook
from kdnb.names import UsageError
from kdnb.training.toy import balanced

workbook.check(
    globals(),
    source=str,
    images=(0, 10_000_000),
    held_out_images=(0, 10_000_000),
    image_size=(0, 4096),
    channels={0, 1, 3},
    student=str,
    teacher=str,
    teacher_weights=str,
    method=str,
    options=list,
    epochs=(1, 10_000),
    lr=(0.000001, 10.0),
    seeds=(2, 1000),
    formats=list,
    folder=str,
)
figures.use()
warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # TorchScript is one of the formats

if len(options) % 2 or not all(isinstance(name, str) for name in options[::2]):
    raise UsageError(f'options are names and values in turn, such as ["temperature", 4]; got {options}.')
chosen = dict(zip(options[::2], options[1::2], strict=True))
target = Path(folder).expanduser() if folder else paths.runs() / "your-own"
paths.check_writable(target)  # now, not after the training

# %% [markdown]
# ## The images
#
# The workbook's data sets come with a test set. From your own images a fifth of every class is held out, unless the
# folder contains `train` and `test` (or `val`). Pixels are normalised by the mean and the standard deviation of the
# training images.

# %%
if source in data.names():
    found = data.load(source)
    everything, held_out = found.train_all, found.test
    classes = found.classes
else:
    found = data.own_images(source, image_size=image_size or None, channels=channels or None)
    everything, held_out, classes = found.train, found.held_out, found.classes
if 0 < images < len(classes):
    raise UsageError(f"images must be 0 or at least {len(classes)}, one for each class; got {images}.")
few = balanced(everything, images) if 0 < images < len(everything) else everything
if held_out_images:
    held_out = held_out.select(slice(held_out_images))
shape = tuple(few.images.shape[1:])
print(f"{len(few)} training and {len(held_out)} held-out images of {' x '.join(map(str, shape))}, {len(classes)} classes")

sample = [few.images[few.labels == label][0] for label in range(min(10, len(classes)))]
panel, axes = plt.subplots(1, len(sample), figsize=(7.2, 1.05), layout="constrained", squeeze=False)
for axis, picture, name in zip(axes[0], sample, classes, strict=False):
    axis.imshow(picture.permute(1, 2, 0).squeeze(), cmap="gray" if shape[0] == 1 else None)
    axis.set_title(str(name)[:12], fontsize=9)
    axis.set_axis_off()
shown = f"the {len(classes)}" if len(sample) == len(classes) else f"the first {len(sample)} of {len(classes)}"
figures.save(
    panel, "your-own-images", alt=f"One training image of each of {shown} classes: {', '.join(map(str, classes[:10]))}.",
    caption=f"One training image of each of {shown} classes, in the {shape[1]} x {shape[2]} pixels that the networks see. "
    "Classes that you cannot tell apart at this size are hard for the networks, too.",
)  # fmt: skip

# %% [markdown]
# ## The networks
#
# `nets.build` takes a name of kdnb, of timm or of torchvision, or the path of your own class or function, which is
# called with whichever of `num_classes`, `in_channels` and `image_size` it accepts. The teacher comes already trained,
# gets your weights, or is trained here on all training images.

# %% tags=["nbval-ignore-output"]
recipe = kdnb.Recipe(epochs=epochs, lr=lr, optimiser="adam", batch_size=min(64, max(2, len(few) // 16)), schedule="cosine")


def new(name, seed):
    """A network with the initial weights of a seed."""
    torch.manual_seed(seed)
    return nets.build(name, num_classes=len(classes), in_channels=shape[0], image_size=shape[1:])


comes_trained = (teacher, teacher_weights) in nets.pretrained_names()
guide = nets.pretrained(teacher, teacher_weights) if comes_trained else new(teacher, 0)
if teacher_weights and not comes_trained:
    nets.load_weights(guide, teacher_weights)

# One batch and the formats that you named, with untrained students: what cannot be is said now, before hours of training.
first = few.select(slice(recipe.batch_size))
kdnb.distil(new(student, 0), guide, first, recipe.model_copy(update={"epochs": 1}), method=method, **chosen)
if formats:
    kdnb.export(new(student, 0), first.tensors()[0], target, formats=formats)

if not teacher_weights:
    kdnb.train(guide, everything, recipe)
both = {"teacher": guide, "student, untrained": new(student, 0)}
measured = pd.DataFrame({name: kdnb.evaluate(network, held_out) for name, network in both.items()}).T
measured["weights"] = [sum(p.numel() for p in network.parameters()) for network in both.values()]
figures.table(measured[["weights", "errors", "accuracy", "cross_entropy"]], decimals={"weights": 0, "errors": 0, "accuracy": 4, "cross_entropy": 3})

# %% [markdown]
# The teacher should be clearly better on held-out images than your student will be. If it is not, it may have little to
# teach; the comparison below will show whether it does.
#
# ## One student
#
# Two students with the same initial weights are trained, one with the teacher and one without. The distilled student is
# exported at the end.

# %% tags=["nbval-ignore-output"]
networks = {"undistilled": new(student, 0), "distilled": new(student, 0)}
watch = held_out.select(slice(500))
fits = {
    "undistilled": kdnb.train(networks["undistilled"], few, recipe, evaluate=watch),
    "distilled": kdnb.distil(networks["distilled"], guide, few, recipe, method=method, evaluate=watch, **chosen),
}
deployed = fits["distilled"].networks.get("deployed", networks["distilled"])
curves = pd.concat([fit.history.assign(condition=name) for name, fit in fits.items()])
curves["errors, %"] = 100 * (1 - curves.accuracy)
figure = figures.lines(
    curves, "errors, %", "held-out errors, %", roles={"undistilled": "student", "distilled": "method"}
)
last = curves.groupby("condition")["errors, %"].last()
figures.save(
    figure, "your-own-curves", alt=f"Held-out errors over {epochs} epochs of one seed: at the end {last.distilled:.1f}% of the distilled student and {last.undistilled:.1f}% of the undistilled one.",
    caption=f"After {epochs} epochs the distilled student of this seed errs on {last.distilled:.1f}% of {len(watch)} held-out images, the "
    f"undistilled one, from the same initial weights, on {last.undistilled:.1f}%. One seed decides nothing: see Figure 3.",
)  # fmt: skip

# %% [markdown]
# ## Does it help?
#
# `kdnb.compare` repeats both trainings. The two trainings of a seed start from the same weights and see the same images
# in the same order, so their difference is due to the teacher alone. The interval and the exact sign-flip test are
# computed from these differences.

# %%
setting = kdnb.Toy(
    train=few, held_out=held_out, student=lambda seed: new(student, seed), teacher=guide, recipe=recipe, name="your images"
)
conditions = {"undistilled": None, "distilled": {"method": method, **chosen}}
compared = kdnb.compare(conditions, setting=setting, seeds=seeds, control="undistilled")
print("the distilled student is", compared.against("undistilled").verdict["distilled"])

# %% tags=["nbval-ignore-output"]
figures.table(compared.against("undistilled").drop(columns="p_holm"), decimals={"errors": 1, "difference": 1, "low": 1, "high": 1, "p": 3})

# %% tags=["nbval-ignore-output"]
tidy = compared.errors.reset_index().melt("seed", var_name="condition", value_name="errors")
tidy["errors"] *= 100 / len(held_out)
figure = figures.points(
    tidy, "errors", f"errors on {len(held_out)} held-out images, %", roles={"undistilled": "student", "distilled": "method"}, baseline="undistilled"
)
gap = compared.against("undistilled").loc["distilled"]
figures.save(
    figure, "your-own-paired", alt=f"The distilled student is {gap.verdict} over {seeds} paired seeds: {gap.difference:+.1f} errors on average.",
    caption=f"Distilled minus undistilled: {gap.difference:+.1f} held-out errors on average over {seeds} paired seeds (95% interval {gap.low:+.1f} to "
    f"{gap.high:+.1f}), that is, {gap.verdict}. Small points are seeds, lines the 95% intervals of each condition's own mean.",
)  # fmt: skip

# %% [markdown]
# *Undecided* means that the interval allows a gain as well as a loss; more seeds may settle it. *Worse* happens too:
# the teacher may be no better than the student, the temperature too high, or the training too short.
#
# ## The student as files
#
# `kdnb.export` writes a copy of the network in eval mode. The weights alone are for PyTorch code that can build the
# network; the graph of `torch.export` and TorchScript run without that code; ONNX needs the packages onnx and
# onnxscript; `int8` computes in 8-bit integers on a CPU, with ranges measured on training images after training. If
# this costs too much accuracy, `int8_distillation` of [chapter 5.7](5-7-quantized.ipynb) trains with the rounding, and
# `kdnb.export` writes its network too. The table shows how far the answers of each file are from the network's.

# %% tags=["nbval-ignore-output"]
files = kdnb.export(deployed, few.select(slice(200)).tensors()[0], target, formats=formats or None)
figures.table(files, decimals={"kB": 0, "difference": 4, "agreement": 3})

# %% [markdown]
# The last check uses the task itself: the files are read as another program would read them, and classify held-out
# images.

# %%
def reader(form, file):
    """A file of the student, ready to classify."""
    if form == "state_dict":  # weights alone: a network like it is built first
        return nets.load_weights(new(student, 1), file).eval()
    return torch.export.load(file).module() if form == "torch_export" else torch.jit.load(file)


pictures, labels = held_out.tensors()
wanted = kdnb.evaluate(deployed, held_out).errors
for form, file in files.file.items():
    if not file or form == "onnx" or (form == "state_dict" and deployed is not networks["distilled"]):
        continue
    with torch.no_grad():
        answers = torch.cat([reader(form, target / file)(part) for part in pictures.split(500)])
    different = abs(int((answers.argmax(1) != labels).sum()) - wanted)
    print(f"{form}: as good as the network:", "yes" if different <= (0.02 * len(labels) if form == "int8" else 2) else "no")

# %% [markdown]
# ## Use the files
#
# ```python
# import torch
# from safetensors.torch import load_model
#
# student = torch.jit.load("student.ts")             # or torch.export.load("student.pt2").module()
# logits = student(images)                           # normalised as below, (batch, channels, height, width)
#
# network = MyNetwork()                              # or kdnb.nets.build(...), with your code
# load_model(network, "student.safetensors")
# ```
#
# Whoever uses the files must normalise images as the training did:

# %%
card = few.card
print("mean", [round(value, 4) for value in card.mean], "sd", [round(value, 4) for value in card.sd], "of pixels between 0 and 1")

# %% [markdown]
# ## Other methods and other data
#
# To use another method, give for example `--set method=at --set "options=[]"`; `kdnb where at` says where it is
# explained, and `kdnb compare my_module:my_loss --setting tian2020crd` puts a loss of yours beside the recorded ones.
# Methods that look inside the networks find the layers of networks from kdnb, timm and torchvision; for other networks
# see [docs/your-data.md](../docs/your-data.md). To cite what you used: `kdnb cite hinton2015`.
