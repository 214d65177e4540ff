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
#     papers:
#     - chen2019dafl
#     - nayak2019zskd
#     - micaelli2019zskt
#     - yin2020deepinversion
#     - wang2018dd
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5.6 Data-free distillation
#
# Often a trained network is available but its training data are not: they are private, too large to ship, or deleted.
# In data-free distillation images are made out of the teacher itself, and the student learns from the teacher's answers
# to them. In this chapter a generator that has never seen a digit makes the images from which a student learns to
# recognise digits. You see what it makes, what keeps it from making only a few classes, and how accurate the student
# becomes.
#
# The chapter belongs to section 5.6 of the survey
# ([Gou et al. 2021](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)).
# Its main paper is *Data-Free Learning of Student Networks*
# ([Chen et al. 2019](https://arxiv.org/abs/1904.01186), DAFL for short). Its relatives follow, with links at
# the end.
#
# **Before you start:** soft targets ([chapter 2.1](2-1-response-based-knowledge.ipynb)) and the adversarial game
# ([chapter 5.1](5-1-adversarial.ipynb)).
# **Time:** two to three minutes on two CPU cores.
#
# The next cell holds every parameter of the live part. Change them here, or by
# `kdnb run 5-6 --set iterations=1000`.

# %% tags=["parameters"]
train_images = 12000  # training images of the teachers
teacher_epochs = 4
width = 16  # channels of a generator; published: 128
batch_size = 64  # images in a batch; published: 512
iterations = 250  # training steps of generator and student; published: 24,000
generator_lr = 0.05  # rate of the generator's Adam; published: 0.2, for batches of 512
student_lr = 0.002
seeds = 2  # repetitions of DAFL and its controls
test_images = 5000  # from the start of the test set
bank_images = 400  # synthetic images in a bank, for methods that keep them
pixel_steps = 60  # steps of Adam on the pixels of a bank

# %%
import copy

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

import kdnb
from kdnb import data, figures, nets, papers, workbook
from kdnb.methods import data_free
from kdnb.workbook.chapter import show_verdicts

workbook.check(
    globals(),
    train_images=(2000, 50000),
    teacher_epochs=(1, 100),
    width=(4, 256),
    batch_size=(8, 1024),
    iterations=(20, 100000),
    generator_lr=(0.0001, 2.0),
    student_lr=(0.0001, 0.1),
    seeds=(1, 20),
    test_images=(500, 10000),
    bank_images=(100, 20000),
    pixel_steps=(5, 5000),
)
figures.use()

# %% [markdown]
# ## The idea
#
# Distillation needs images on which teacher and student meet. Where do they come from when nobody has any? From
# the teacher: a trained network still holds traces of its data.
#
# - Its *answers*: it is sure of images that look like its data, and less sure of others.
# - Its *gradients*: they show how to change an image so that the teacher becomes surer of it.
# - Its *weights*: classes with similar weights in the last layer look alike.
# - Its *batch normalisations*: they store the mean and variance of everything that passed through them.
#
# The methods of this chapter differ in which trace they follow, and in who makes the images: a *generator* that
# is trained beside the student, or *gradient descent on pixels*, whose result is a *bank* of images that can be
# kept and used again.
#
# DAFL takes a generative adversarial network and puts the frozen teacher in the place of the discriminator. The teacher
# has never learnt to tell real images from generated ones. But it reacts to real images in a certain way: it is sure,
# it uses all classes, and its filters respond. The generator is trained until the teacher reacts to generated images in
# the same way. On these images the student imitates the teacher.

# %%
scheme = figures.schematic(
    {
        "z": ("noise $z$", 0, 0.5),
        "G": ("generator\n(trained)", 1, 0.5, "method"),
        "x": ("images $x=G(z)$", 2, 0.5),
        "T": ("teacher\n(frozen)", 3, 0, "teacher"),
        "S": ("student\n(trained)", 3, 1, "student"),
        "three": ("one-hot, entropy,\nactivation", 4, 0, "method"),
        "kl": ("$\\mathrm{KL}(p\\,\\Vert\\,q)$", 4, 1, "student"),
    },
    [("z", "G"), ("G", "x"), ("x", "T"), ("x", "S"), ("T", "three", "$v$, $f$"), ("T", "kl", "$p$"), ("S", "kl", "$q$")],
)  # fmt: skip
figures.save(
    scheme,
    "5-6-idea",
    alt="A generator turns noise into images. Three losses measure the frozen teacher's reaction to these images and train the generator. "
    "The divergence between the teacher's and the student's answers trains the student.",
    caption="DAFL needs no data set. Three losses on the teacher's reaction train the generator (their gradient runs through the frozen teacher), "
    "and the student imitates the teacher on the generated images.",
)

# %% [markdown]
# ## The mathematics
#
# Symbols are those of [the workbook's notation](../docs/notation.md). A batch has $B$ generated images $x_b=G(z_b)$; in
# this chapter $z_b$ is the noise; further down, $z(x)$ denotes the student's logits. The teacher's logits for $x_b$ are
# $v_b$, its probabilities $p_b=\mathrm{softmax}(v_b)$, its guess is $t_b=\arg\max_kp_{bk}$, and $f_b\in\mathbb R^D$ is
# what its convolutions pass to its linear layers. The generator minimises
#
# $$L_G=\underbrace{\frac1B\sum_bH(\mathbf 1_{t_b},p_b)}_{L_{oh}\text{: be sure}}
#   +w_{ie}\underbrace{\sum_k\bar p_k\log_{10}\bar p_k}_{L_{ie}\text{: be of all classes}}
#   +w_a\underbrace{\Big(-\frac1{BD}\sum_b\lVert f_b\rVert_1\Big)}_{L_a\text{: excite the filters}},\qquad
#   \bar p=\frac1B\sum_bp_b,$$
#
# with $w_{ie}=5$ and $w_a=0.1$. The student, with probabilities $q_b$, minimises
# $L_S=\frac1B\sum_b\mathrm{KL}(p_b\,\Vert\,q_b)$. No gradient of $L_S$ reaches the generator.
#
# 1. *Sure and balanced, only together.* $L_{oh}$ is 0 when the teacher is certain of every image: one perfect image,
#   made $B$ times, suffices. $L_{ie}$ has its minimum, $-\log_{10}K$, when $\bar p$ is uniform: a blank image that
#   tells the teacher nothing suffices. Only both together require images of $K$ kinds.
# 2. *Their sum is a mutual information.* With natural logarithms, and with the entropy $H(p_b)$ of each answer in place
#    of $L_{oh}$, the two terms are $\frac1B\sum_bH(p_b)-H(\bar p)=-I$: minus the information that an answer contains
#    about its image.
# 3. *A base is a weight.* The paper's formula names no base; the released code takes 10. As $\log_{10}a=\ln a/\ln10$,
#    natural logarithms need the weight $5/\ln10=2.17$. Copying the 5 makes the term 2.3 times as strong.
# 4. *Where the paper and its code differ.* The paper writes $L_a$ as a sum over features, the code takes a mean, and
#    $w_a=0.1$ belongs to the mean. The paper writes the student's loss as a cross-entropy, the code takes the
#    divergence: the gradient is the same.
#
# The next cell checks the three losses, and the first three facts.

# %%
torch.manual_seed(0)
v, f = 3 * torch.randn(64, 10, dtype=torch.float64), torch.randn(64, 120, dtype=torch.float64)
p, mean = v.softmax(1), v.softmax(1).mean(0)
torch.testing.assert_close(data_free.one_hot(v), -p.amax(1).log().mean())
torch.testing.assert_close(data_free.information_entropy(v), (mean * mean.log10()).sum())
torch.testing.assert_close(data_free.activation(f), -sum(row.abs().sum() for row in f) / f.numel())

same_image = 50 * F.one_hot(torch.full((64,), 1), 10).double()  # certain answers, but a single class
blank = torch.zeros(64, 10, dtype=torch.float64)  # all classes are equal, but no answer is certain
ten_kinds = 50 * F.one_hot(torch.arange(60) % 10, 10).double()
for name, logits in {"one image repeated": same_image, "blank images": blank, "images of ten kinds": ten_kinds}.items():
    terms = data_free.one_hot(logits), data_free.information_entropy(logits)
    print(f"{name}: one-hot {terms[0]:.2f}, entropy {abs(terms[1]) * (-1 if terms[1] < -1e-9 else 1):.2f}")

ln10 = torch.log(torch.tensor(10.0, dtype=torch.float64))
information = sum((row * (row / mean).log()).sum() for row in p) / len(p)
each = -(p * p.log()).sum(1).mean()
torch.testing.assert_close(each + ln10 * data_free.information_entropy(v), -information)
natural = data_free.information_entropy(v, base=None)
torch.testing.assert_close(5 * data_free.information_entropy(v), 5 / ln10 * natural)
print("the losses, the mutual information and the two logarithms agree with the formulas")

# %% [markdown]
# ## The method as a training loop
#
# First the generator: noise becomes maps of 8 x 8, which two convolutions enlarge to 32 x 32. The last layer normalises
# the images over the batch, so that they have mean 0 and variance 1 like normalised data, although it has never seen
# any. The 0.8 comes from the released code: it is the $\epsilon$ of these two normalisations, though it looks like a
# momentum. The cell after that contains the whole method. Nothing in it reads data: its arguments are three networks
# and noise.


# %%
def make_generator():
    half = width // 2
    return nn.Sequential(
        nn.Linear(100, width * 8 * 8), nn.Unflatten(1, (width, 8, 8)), nn.BatchNorm2d(width),
        nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width, 0.8), nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2), nn.Conv2d(width, half, 3, padding=1), nn.BatchNorm2d(half, 0.8), nn.LeakyReLU(0.2),
        nn.Conv2d(half, 1, 3, padding=1), nn.Tanh(), nn.BatchNorm2d(1, affine=False),
    )  # fmt: skip


# %%
def dafl(student, teacher, generator, noise, weights=(1, 5, 0.1), look=None):
    moves = torch.optim.Adam(generator.parameters(), lr=generator_lr)
    learns = torch.optim.Adam(student.parameters(), lr=student_lr)
    for step, z in enumerate(noise, 1):
        with nets.features(teacher, ["stage3"]) as maps:
            images = generator(z)
            v = teacher(images)
            p = v.softmax(1)
        mean = p.mean(0)
        one_hot = F.cross_entropy(v, v.argmax(1))  # be sure
        entropy = (mean * mean.log10()).sum()  # be of all classes
        activation = -maps["stage3"].abs().mean()  # excite the filters
        loss = weights[0] * one_hot + weights[1] * entropy + weights[2] * activation
        moves.zero_grad()
        loss.backward()
        moves.step()

        images, p = images.detach(), p.detach()  # no gradient of the student reaches the generator
        log_q = student(images).log_softmax(1)
        imitation = F.kl_div(log_q, p, reduction="batchmean")  # KL(p || q)
        learns.zero_grad()
        imitation.backward()
        learns.step()
        if look:
            look(step, student, images, p)


# %% [markdown]
# In the package this is `kdnb.data_free`, for any teacher and any generator that states the size of its noise. Three
# steps of both, from the same weights and the same noise, give the same student. (Many more steps do not: at such a
# high rate Adam magnifies rounding differences, and the two diverge.)

# %%
def make_student(seed):
    torch.manual_seed(seed)
    return nets.build("lenet5_half_dafl")  # LeNet-5 with half the channels: 15,738 weights


shipped = nets.pretrained("lenet5", "mnist").requires_grad_(False)
maker = make_generator()
maker.latent = 100
twin, by_loop, by_package = copy.deepcopy(maker), make_student(1), make_student(1)
same_noise = [batch.images for batch in data_free.NoiseBatches(3, batch_size, (100,), seed=7).epoch(0)]
dafl(by_loop, shipped, twin, same_noise)
kdnb.data_free(
    by_package, shipped, method="dafl", generator=maker, generator_lr=generator_lr, steps=3, epochs=1, seed=7,
    batch_size=batch_size, optimiser="adam", lr=student_lr, schedule="constant", precision="32", detector=False,
)  # fmt: skip
some = torch.randn(64, 1, 32, 32)
torch.testing.assert_close(by_package(some), by_loop(some), rtol=1e-3, atol=1e-4)
print("the loop above and kdnb.data_free give the same student")

# %% [markdown]
# ## The experiment
#
# The teacher is a LeNet-5 (61,706 weights), trained on 12,000 digits. No student of this experiment sees a training
# image. All start from the same weights and make equally many steps in batches of equal size:
#
# - **DAFL**: all three terms;
# - **without the entropy**: the one-hot and the activation term alone;
# - **noise**: the teacher's answers to plain Gaussian noise. Every data-free method should be compared with this
#   control: it costs nothing, and a method is worth only what it adds.
#
# For the long runs the generator is `data_free.Generator`: the same layers, arranged so that they take less time.

# %%
source = data.load("mnist")
test = source.test.select(slice(test_images))
looked_at = source.test.select(slice(1000))  # for the learning curves
FIRST_SEED = 5600  # no record and no pilot uses these seeds


def train_teacher(name):
    """Train a network on labels."""
    order = torch.randperm(len(source.train), generator=torch.Generator().manual_seed(FIRST_SEED))
    torch.manual_seed(FIRST_SEED)
    network = nets.build(name)
    kdnb.train(
        network, source.train.select(order[:train_images]), epochs=teacher_epochs, batch_size=64, optimiser="adam",
        lr=0.002, precision="32", seed=FIRST_SEED,
    )  # fmt: skip
    return network.eval().requires_grad_(False)


def percent(network, images=test):
    """Accuracy on test images, which is only reported: no choice depends on it."""
    return 100 * kdnb.evaluate(network, images)["accuracy"]


teacher = train_teacher("lenet5")
print(f"premise, the teacher is right on at least 95% of the test images: {percent(teacher) >= 95}")


# %%
def noise_of(seed, shape=(100,)):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch_size, *shape, generator=generator) for _ in range(iterations)]


def from_noise(student, teacher, images):
    """The control: the student's half of the loop, on noise."""
    learns = torch.optim.Adam(student.parameters(), lr=student_lr)
    for step, x in enumerate(images, 1):
        with torch.no_grad():
            p = teacher(x).softmax(1)
        loss = F.kl_div(student(x).log_softmax(1), p, reduction="batchmean")
        learns.zero_grad()
        loss.backward()
        learns.step()
        yield step, student, x, p


course, snapshots, students = [], {}, {}
moments = [round(share * iterations) for share in (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1)]


def looking(condition, seed):
    """Return a function that stores the images and the accuracy of the student at some steps."""

    def look(step, student, images, p):
        if step in moments:
            course.append({"condition": condition, "seed": seed, "step": step, "accuracy": percent(student, looked_at)})
            snapshots[condition, seed, step] = images.clone(), p.clone()

    return look


# %%
for seed in range(FIRST_SEED, FIRST_SEED + seeds):
    for condition, weights in {"DAFL": (1, 5, 0.1), "without the entropy": (1, 0, 0.1)}.items():
        torch.manual_seed(seed)
        generator, student = data_free.Generator("dafl", width=width), make_student(seed)
        dafl(student, teacher, generator, noise_of(seed), weights, looking(condition, seed))
        students[condition, seed] = student
    student, look = make_student(seed), looking("noise", seed)
    for seen in from_noise(student, teacher, noise_of(seed, (1, 32, 32))):
        look(*seen)
    students["noise", seed] = student

final = pd.DataFrame(
    [{"condition": name, "seed": seed, "accuracy": percent(student)} for (name, seed), student in students.items()]
)
means = final.groupby("condition", sort=False)["accuracy"].mean()
print("DAFL's student is right on more than half of the test images:", bool(means["DAFL"] > 50))
print("its lead over noise and over DAFL without the entropy term is 20 points or more:",
      bool((means["DAFL"] - means.drop("DAFL") >= 20).all()))  # fmt: skip

# %% tags=["nbval-ignore-output"]
roles = {"DAFL": "method", "without the entropy": "other", "noise": "student"}
whole = pd.DataFrame(course)
figure = figures.lines(
    whole.groupby(["condition", "step"], sort=False)["accuracy"].mean().reset_index(), "accuracy", "accuracy on\n1,000 test images, %",
    over="step", over_label="iterations", roles=roles, baseline=percent(teacher), baseline_label="the teacher",
)  # fmt: skip
for (condition, _), one in whole.groupby(["condition", "seed"]):
    figure.axes[0].plot(one["step"], one["accuracy"], color=figures.colours(list(roles), roles)[condition], lw=1, alpha=0.45)
figure.axes[0].set_ylim(0, 103)
figures.save(
    figure,
    "5-6-effect",
    alt="Test accuracy during training. At the end: " + ", ".join(f"{name} {mean:.1f}%" for name, mean in means.items())
    + f". The teacher has {percent(teacher):.1f}%.",
    caption=f"DAFL's student recognises {means['DAFL']:.1f}% of the test images, although it has never seen a real digit. Without the "
    f"entropy term the student reaches {means['without the entropy']:.1f}%, and on noise {means['noise']:.1f}%. Thick lines are means of {seeds} seeds, thin lines single seeds; "
    "so few seeds give only a first impression.",
)

# %% [markdown]
# **What the numbers say.** After 250 iterations, that is, 16,000 generated images, DAFL's student is right on 73.4% of
# the test images. Two seeds say little: on another processor, which rounds differently, the same code gave 80.3%. The
# teacher reaches 97.8%. Without the entropy term the student reaches 24.9%, on noise 36.0%. (These accuracies are on
# 5,000 test images; the curves use the first 1,000.) Noise teaches more than one would expect: 44.5% after twelve
# times as many iterations in the record, our longer runs over six seeds (DAFL 90.2%; see [the
# reproduction](#The-reproduction)), and 88% in the paper.
#
# ### What the generator makes

# %% tags=["nbval-ignore-output"]
def pixels(images):
    """Turn normalised images into shares of black."""
    mean, sd = (torch.tensor(one).view(-1, 1, 1) for one in (source.mean, source.sd))
    return (images * sd + mean).clamp(0, 1)


def by_class(images, p):
    """For every class, the image of which the teacher is surest; white where there is none."""
    images, guess = pixels(images), p.argmax(1)
    return [images[torch.where(guess == k, p[:, k], -1).argmax()] if (guess == k).any() else 0 * images[0] for k in range(10)]


rows = {name: by_class(*snapshots[name, FIRST_SEED, iterations]) for name in roles}
figure = figures.images(list(rows.values()), rows=list(rows), columns=list(source.classes), size=0.75)
sure = {name: float(snapshots[name, FIRST_SEED, iterations][1].amax(1).mean()) for name in roles}
classes_made = {name: len(snapshots[name, FIRST_SEED, iterations][1].argmax(1).unique()) for name in roles}
figures.save(
    figure,
    "5-6-made",
    alt="For every class, the image of the last batch of which the teacher is surest; white where there is none. "
    + " ".join(f"{name}: {classes_made[name]} of 10 classes." for name in roles),
    caption="In its last batch DAFL makes "
    + f"{classes_made['DAFL']} classes, with a mean confidence of the teacher of {100 * sure['DAFL']:.0f}%; without the entropy term the generator makes "
    + f"{classes_made['without the entropy']}, with {100 * sure['without the entropy']:.0f}%. The images need not look like digits to us: only the "
    "teacher has to recognise them.",
)

# %% [markdown]
# ### Explorer: watch a generator, and watch one collapse
#
# Choose one of the three conditions, and move through its training. The top row shows the first images of the batch,
# the bars below the classes that the teacher sees in it.


# %% tags=["nbval-ignore-output"]
def show_batch(images, iteration):
    made, p = snapshots[images, FIRST_SEED, iteration]
    figure = plt.figure(figsize=(9.4, 2.9), layout="constrained")
    grid = figure.add_gridspec(2, 8, height_ratios=[1, 1.1])
    for place, picture in enumerate(pixels(made)[:8]):
        axes = figure.add_subplot(grid[0, place])
        figures.image(axes, (255 * picture).byte())
        axes.set_title(f"{source.classes[int(p[place].argmax())]}, {100 * float(p[place].max()):.0f}%", fontsize=9)
    axes = figure.add_subplot(grid[1, :])
    share = torch.bincount(p.argmax(1), minlength=10) / len(p)
    figures.bars(axes, share, source.classes)
    axes.axhline(0.1, color=figures.GREY, lw=1, ls=(0, (5, 3)))
    known = next(row["accuracy"] for row in course if (row["condition"], row["seed"], row["step"]) == (images, FIRST_SEED, iteration))
    axes.set(ylim=(0, 1), xlabel="class according to the teacher", ylabel="share", title=f"so far the student recognises {known:.0f}% of the test images")
    return figure


figures.explorer(
    show_batch,
    name="5-6-explorer",
    alt="Eight images of a batch with the teacher's guess and confidence, and the share of each class. At the end DAFL makes all ten classes; without the entropy term and on noise several are missing",
    caption="A batch of the first seed. The teacher's guess and confidence stand above each image. At the dashed line all classes are equally frequent.",
    start={"images": "DAFL", "iteration": moments[-1]},
    images=list(roles),
    iteration=moments,
)

# %% [markdown]
# ### Notice a collapse while it happens
#
# A generator *collapses* when it makes one image or one class again and again. Without data there is no validation set
# that would reveal it. `CollapseDetector` measures three quantities on every batch, and `kdnb.data_free` writes them
# into the history and warns when one of them falls below a limit (the limits are ours):
#
# - *class balance*: the entropy of the histogram of classes, as a share of its largest value; below 0.7;
# - *diversity*: the share of the pixels' variance that comes from differences between images; below 0.05;
# - *confidence*: the teacher's mean largest probability; below 0.5.

# %% tags=["nbval-ignore-output"]
watched = {}
for name in roles:
    images, p = snapshots[name, FIRST_SEED, iterations]
    detector = data_free.CollapseDetector(10)
    detector.see(images, p.log())
    watched[name] = detector.report() | {"accuracy of the student, %": means[name]}
figures.table(
    pd.DataFrame(watched).T.rename(columns=lambda name: name.replace("_", " ")), decimals={"accuracy of the student, %": 1},
    caption="The detector's measurements on the last batch of the first seed. A red line above the table is a warning of the detector.",
)  # fmt: skip

# %% [markdown]
# Without the entropy term the generator makes four classes, and the balance is 0.41. Nothing else would have revealed
# this: the teacher is *surer* of these images than of DAFL's (0.94 against 0.78), and they differ from one another
# nearly as much (a diversity of 0.825 against 0.849). Noise is diverse, but the teacher is unsure of it (0.43), and
# sees no 0, 1, 4, 6 or 9 in this batch. A student can learn little about classes that hardly occur. All this is from
# one batch of one seed.
#
# ## The relatives
#
# Most of them have a teacher and no data. They differ in what they require of an image. Open a method for its formula
# and its distinctive idea. The calls are from `kdnb.methods.data_free` unless stated otherwise; the docstrings say
# which parts of a paper or its code we read, and where our code departs from it. In the formulas $v(x)$ and $z(x)$ are
# the logits of teacher and student for image $x$, $p(x)$ and $q(x)$ their probabilities.
#
# <details><summary><b>ZSKT</b>: images on which student and teacher disagree</summary>
#
# [Micaelli and Storkey (2019)](https://arxiv.org/abs/1905.09768) do not require that images look like anything. The
# generator seeks images on which the two disagree, and the student closes the gap there:
#
# $$\max_G\ \mathrm{KL}\big(p(x)\,\Vert\,q(x)\big),\qquad
#   \min_S\ \mathrm{KL}\big(p(x)\,\Vert\,q(x)\big)+w\sum_lA_l,\qquad x=G(z),$$
#
# one step of the generator, then ten of the student on the same images. $A_l$ compares attention maps
# ([chapter 2.2](2-2-feature-based-knowledge.ipynb)), and trains the student alone. *What sets it apart:* where the
# student has learnt to follow, the generator has nothing to gain and must go elsewhere. The game itself works against
# collapse. `kdnb.data_free(student, teacher, method="zskt", attention={…})`.
#
# </details>
#
# <details><summary><b>DFAD</b>: the same game, on logits</summary>
#
# [Fang et al. (2019)](https://arxiv.org/abs/1912.11006) play this game with
#
# $$\max_G\min_S\ \frac1{BK}\sum_b\lVert v(x_b)-z(x_b)\rVert_1.$$
#
# *What sets it apart:* a divergence of probabilities becomes flat where the two nearly agree; this distance does
# not, so the generator has a gradient to follow to the end. `kdnb.data_free(…, method="dfad")`.
#
# </details>
#
# <details><summary><b>ZSKD</b>: data impressions, pixels for soft answers</summary>
#
# [Nayak et al. (2019)](https://arxiv.org/abs/1905.08114) train no generator. They begin with random pixels and move
# them until the teacher gives a chosen answer. Which answer? The rows $w_k$ of the teacher's last layer show how alike
# two classes are, $C_{kj}=\cos(w_k,w_j)$. Row $C_k$, scaled to $[0,1]$, is the concentration $\alpha_k$ of a Dirichlet
# distribution, from which soft targets of class $k$ are drawn:
#
# $$y\sim\mathrm{Dir}(\beta\alpha_k),\ \beta\in\{1,\,0.1\},\qquad
#   \min_x\ H\big(y,\ \mathrm{softmax}(v(x)/T)\big),\quad T=20.$$
#
# *What sets it apart:* the targets. With one-hot targets instead, the images are *class impressions*, the
# paper's own control. `dirichlet_targets(weight, …)`, `data_impressions(teacher, targets, shape)`.
#
# </details>
#
# <details><summary><b>DeepInversion</b>: images with the right statistics</summary>
#
# A batch normalisation stores a running mean $\hat\mu_l$ and variance $\hat\sigma^2_l$: a summary of the data in every
# layer, which nobody meant to publish. [Yin et al. (2020)](https://arxiv.org/abs/1912.08795) make a batch of images $x$
# of given classes $y$ whose own means $\mu_l(x)$ and variances $\sigma_l^2(x)$ agree with it, with weights $w$ for the
# terms:
#
# $$\min_x\ H(\mathbf 1_y,p(x))+w_f\sum_l\big(\lVert\mu_l(x)-\hat\mu_l\rVert_2+\lVert\sigma_l^2(x)-\hat\sigma_l^2\rVert_2\big)
#   +w_{tv}R_{TV}(x)+w_2\lVert x\rVert_2 .$$
#
# $R_{TV}$ is the size of differences between neighbouring pixels. Without the statistics term this is *DeepDream*.
# **Adaptive DeepInversion** adds $w_c\,(1-\mathrm{JS}(p(x),q(x)))$ with the Jensen-Shannon divergence
# $\mathrm{JS}$, a *competition*: it favours images on which a given student still disagrees with the teacher.
# *What sets it apart:* statistics belong to a batch, so hundreds of images are made at once.
# `deep_inversion(teacher, labels, shape)`, with `student=` for the adaptive form.
#
# </details>
#
# <details><summary><b>CMI</b>: every image unlike all others</summary>
#
# [Fang et al. (2021)](https://arxiv.org/abs/2105.08584), after the survey, invert as DeepInversion does, but through a
# fresh small generator for each batch. A memory holds features of the images made before. The features $l_b$ of a crop
# of an image should identify those of the whole image, $h_b$, among the $h_j$ of all images ($\tau$ is a temperature):
#
# $$L_{cr}=-\frac1B\sum_b\log\frac{\exp(\langle l_b,h_b\rangle/\tau)}{\sum_j\exp(\langle l_b,h_j\rangle/\tau)}.$$
#
# *What sets it apart:* diversity over the whole bank, and not only within a batch.
# `contrastive_inversion(teacher, generator, labels, memory, head)`.
#
# </details>
#
# <details><summary><b>Fast</b>: a generator that learns to start well</summary>
#
# [Fang et al. (2022)](https://arxiv.org/abs/2112.06253), after the survey, keep one generator $\theta$ as a starting
# point, so that a handful of steps on the inversion loss suffice for any batch. For each batch a copy $\theta'$ is
# trained, and $\theta$ moves along the gradients of the copy ($\eta$ and $\eta'$ are rates, $\theta'_i$ is the copy
# before step $i$):
#
# $$\theta'\leftarrow\theta'-\eta'\nabla L(\theta')\ (k\text{ times}),\qquad
#   \theta\leftarrow\theta-\eta\sum_{i\le k}\nabla L(\theta'_i).$$
#
# *What sets it apart:* 2 to 10 steps per batch instead of hundreds. `fast_synthesis(teacher, generator, …)`.
#
# </details>
#
# <details><summary><b>Activation records</b>: leave a summary before the data go</summary>
#
# [Lopes et al. (2017)](https://arxiv.org/abs/1710.07535) store a summary of the layers' activations for each class, and
# drop the data. Later they find images whose activations $\Phi$ agree with the record:
# $\min_x\lVert\Phi(x)-\Phi_\mathrm{rec}\rVert^2$. *What sets it apart:* strictly speaking it is not data-free, since
# the record must be made while the data exist. `record(…)`, `sample_activations(…)`,
# `reconstruct(teacher, targets, shape)`.
#
# </details>
#
# <details><summary><b>Few images</b>: pseudo-examples</summary>
#
# [Kimura et al. (2018)](https://arxiv.org/abs/1802.03039) have a hundred real images or fewer. Mixtures $\tilde x$ of
# them are moved to where the student is worst, and used beside the real images:
# $\min_S\max_{\tilde x}\mathrm{KL}(p(\tilde x)\,\Vert\,q(\tilde x))$.
# `pseudo_examples(student, teacher, examples, recipe, start=mixed_examples(…))`.
#
# </details>
#
# <details><summary><b>Unlabelled images</b>: data distillation</summary>
#
# [Radosavovic et al. (2018)](https://arxiv.org/abs/1712.04440) have labels for some images and none for many. One
# network classifies several views $t_m$ of an image, and the mean $\frac1M\sum_mp(t_m(x))$ becomes the image's label
# where it is sure enough. `self_labelled(network, batches, views)`, `omni_supervised(…)`.
#
# </details>
#
# <details><summary><b>Dataset distillation</b>: the opposite question</summary>
#
# [Wang et al. (2018)](https://arxiv.org/abs/1811.10959) have all data and distil *them*: a few images $\tilde x$ on which a few gradient steps, of learnt lengths
# $\tilde\eta$, train a network with weights $\theta_0$,
#
# $$\min_{\tilde x,\tilde\eta}\ \mathrm E_{\theta_0}\,L\big(x,\ \theta_k(\theta_0)\big),\qquad
#   \theta_{i+1}=\theta_i-\tilde\eta_i\nabla_\theta L(\tilde x_i,\theta_i).$$
#
# *What sets it apart:* the gradient runs through the training. For one known $\theta_0$ ten images suffice; for
# any $\theta_0$ it takes more. `distil_dataset(distilled, initial, examples, recipe)`.
#
# </details>

# %% [markdown]
# ### The relatives at work: generators
#
# ZSKT and DFAD use the LeNet-5 from above and the same student, which makes several steps for each step of the
# generator. `evaluate=` writes the accuracy into the history.

# %% tags=["nbval-ignore-output"]
game = {
    "epochs": 3, "steps": 200, "batch_size": batch_size, "optimiser": "adam", "lr": student_lr, "width": width,
    "schedule": "cosine", "precision": "32", "evaluate": looked_at, "seed": FIRST_SEED,
}  # fmt: skip
relatives, played = {}, {}
for method, student_steps in (("zskt", 10), ("dfad", 5)):
    relatives[method.upper()] = make_student(FIRST_SEED)
    played[method.upper()] = kdnb.data_free(
        relatives[method.upper()], teacher, method=method, student_steps=student_steps, generator_lr=0.001, **game
    )

# %%
accuracies = {name: percent(student) for name, student in relatives.items()}
print("ZSKT and DFAD lead over noise by 20 points or more:", all(value - means["noise"] >= 20 for value in accuracies.values()))

# %% [markdown]
# ### The relatives at work: banks of images
#
# A `Bank` holds images and the teacher's answers to them. It can be viewed, saved, and given to any student as data:
# `kdnb.distil(student, teacher, bank.batches(50))`. ZSKD's teacher is the LeNet-5. DeepInversion, CMI and Fast need
# batch normalisations, and LeNet-5 has none, so their teacher is a small network of three convolutions with batch
# normalisation.

# %%
normed = train_teacher("tiny")
print(f"premise, this teacher is right on at least 95% of the test images: {percent(normed) >= 95}")
bounds, shape = data_free.pixel_bounds(source.mean, source.sd), (1, 28, 28)
labels = torch.arange(bank_images) % 10
on_pixels = {"iterations": pixel_steps, "seed": FIRST_SEED}


def impressions(targets):
    return data_free.data_impressions(teacher, targets, shape, bounds=bounds, lr=10 / pixel_steps, batch_size=200, **on_pixels)


def inverted(which=labels, **options):
    return data_free.deep_inversion(normed, which, shape, lr=0.1, **on_pixels | options)


without_statistics = {"class": 1.0, "variation": 2.5e-5}
made = {
    "ZSKD": (teacher, impressions(data_free.dirichlet_targets(teacher.head.weight, bank_images // 20, seed=FIRST_SEED))),
    "class impressions": (teacher, impressions(F.one_hot(labels, 10).float())),
    "DeepInversion": (normed, inverted()),
    "DeepDream": (normed, inverted(weights=without_statistics)),
}
generator = data_free.Generator("dafl", width=width, image_size=28)
size = data_free.feature_count(normed)
memory, head = data_free.FeatureMemory(bank_images, size), data_free.Head(size)
parts = labels.split(bank_images // 4)
made["CMI"] = normed, torch.cat([
    data_free.contrastive_inversion(normed, generator, part, memory, head, iterations=pixel_steps, lr=0.005, seed=FIRST_SEED + i)
    for i, part in enumerate(parts)
])  # fmt: skip
made["Fast"] = normed, data_free.fast_synthesis(
    normed, data_free.Generator("dafl", width=width, image_size=28), classes=10, batches=bank_images // 20, batch_size=20, inner_steps=5,
    seed=FIRST_SEED,
)  # fmt: skip


# %%
def noise_images(count=bank_images):
    low, high = bounds
    return low + (high - low) * torch.rand(count, *shape, generator=torch.Generator().manual_seed(FIRST_SEED))


made["noise, LeNet-5"], made["noise, normalised teacher"] = (teacher, noise_images()), (normed, noise_images())
banks = {name: data_free.bank_of(images, whose) for name, (whose, images) in made.items()}


def taught(bank, whose, seed=FIRST_SEED):
    """Train a student on a bank alone, in 600 steps."""
    student = make_student(seed)
    kdnb.distil(
        student, whose, bank.batches(40, seed=seed), method="kd", temperature=4, weight=1, label_weight=0,
        epochs=600 * 40 // len(bank), optimiser="adam", lr=student_lr, precision="32", seed=seed,
    )  # fmt: skip
    return student


for name, bank in banks.items():
    relatives[name] = taught(bank, made[name][0])
    accuracies[name] = percent(relatives[name])
print("ZSKD's impressions lead over noise by 20 points or more:", accuracies["ZSKD"] - accuracies["noise, LeNet-5"] >= 20)
print("the statistics of DeepInversion lead over DeepDream by 20 points or more:", accuracies["DeepInversion"] - accuracies["DeepDream"] >= 20)

# %% [markdown]
# **Adaptive DeepInversion** needs a student to compete with: the one that has learnt from DeepInversion's images. Half
# as many new images are made against it, and replace half of the bank. So the control, DeepInversion, has equally many
# images.

# %%
half = bank_images // 2
against = {"class": 1.0, "statistics": 10.0, "variation": 2.5e-5, "compete": 1.0}
compete = data_free.bank_of(inverted(labels[:half], student=relatives["DeepInversion"].eval(), weights=against), normed)
first_half = banks["DeepInversion"]
banks["adaptive DeepInversion"] = data_free.Bank(
    torch.cat([first_half.images[:half], compete.images]), torch.cat([first_half.logits[:half], compete.logits])
)
relatives["adaptive DeepInversion"] = taught(banks["adaptive DeepInversion"], normed)
accuracies["adaptive DeepInversion"] = percent(relatives["adaptive DeepInversion"])

# %% tags=["nbval-ignore-output"]
rows = {
    name: {"accuracy of the student, %": value, "images": len(banks[name]) if name in banks else None,
           "class balance": banks[name].summary()["class_balance"] if name in banks else None,
           "teacher's confidence": banks[name].summary()["confidence"] if name in banks else None}
    for name, value in ({"DAFL": means["DAFL"], "noise, as for DAFL": means["noise"]} | accuracies).items()
}  # fmt: skip
figures.table(
    pd.DataFrame(rows).T, decimals={"accuracy of the student, %": 1, "images": 0},
    caption="One run of each method, with a number of steps that we chose. All methods but the two banks of noise teach their students more than chance. Single runs cannot rank the methods.",
)  # fmt: skip

# %% tags=["nbval-ignore-output"]
gallery = {name: by_class(bank.images, bank.logits.softmax(1)) for name, bank in banks.items() if "noise" not in name}
with torch.no_grad():
    for name, fit in played.items():
        images = data_free.generate(fit.networks["generator"], 200, seed=1)
        gallery[name] = by_class(images, teacher(images).softmax(1))
white = {name: [str(k) for k, picture in enumerate(row) if not picture.any()] for name, row in gallery.items()}
gallery = {name: [picture if picture.shape[-1] == 28 else picture[:, 2:30, 2:30] for picture in row] for name, row in gallery.items()}
figures.save(
    figures.images(list(gallery.values()), rows=list(gallery), columns=list(source.classes), size=0.7),
    "5-6-gallery",
    alt="For every class, the synthetic image of which the teacher is surest, in rows for " + ", ".join(gallery) + ". "
    + " ".join(f"{name} has no image of: {', '.join(missing)}." for name, missing in white.items() if missing),
    caption="For every class, the image of which the teacher is surest; white where there is none. CMI and Fast draw smooth strokes, while DeepDream's images look like noise.",
)

# %% [markdown]
# **What the table says.** Students of all methods end above chance. The banks of noise images teach nothing (9.4%,
# chance): this is uniform noise, and the teachers assign nearly all of it to one class (balance 0.13 and 0.00). The
# line about the statistics printed above says *False*; see *DeepInversion* below.
#
# - *ZSKT* (60.7%) and *DFAD* (75.8%) are 24.7 and 39.8 points ahead of the noise that DAFL was compared with, after 60
#   and 120 steps of the generator. The comparison favours them: their students make 600 steps, and the student on noise
#   made 250. In the record, where both students make equally many steps, ZSKT's generator makes 325 and its student is
#   48.8 points ahead.
# - *DeepInversion* (46.0%) is 13.1 points ahead of *DeepDream* (32.9%), which has the same targets and no statistics:
#   less than the 20 that we had set as a margin. In a pilot (see the notes at the end), with another teacher and other
#   seeds, the lead was 51.5 points; in the record, with 1,500 images and 150 steps, 47.7. One run of 400 images cannot
#   say how much the statistics are worth. The teacher is nearly certain of DeepDream's images (0.995) and less so of DeepInversion's
#   (0.85): confidence is no sign of a good image.
# - *ZSKD*'s impressions lead to 69.1%, *class impressions*, which have one-hot targets, to 74.7%: soft targets are
#   not shown to be better, here or in the record.
# - *CMI* and *Fast* are ahead of DeepInversion (58.6 and 71.0%). Both make images through a small generator, which
#   tends to draw smooth strokes (Figure 5); one run cannot tell whether this, their losses or their rates make the
#   difference.
# - *The competition* of adaptive DeepInversion does not help here (39.0% against 46.0%), and the record shows no effect
#   of it.
# - *ZSKT* seeks disagreement, and nothing makes it produce all classes. In this run it produced no 1 (Figure 5).
#
# ### Do the two believe the same?
#
# Equal accuracy is not equal belief. Micaelli and Storkey take a test image on which both networks agree, and walk from it
# towards another class $j$ by the *student's* gradient. Along the way they compare how much each believes in $j$:
#
# $$x\leftarrow x-\xi\,\nabla_xH(\mathbf 1_j,q(x)),\qquad
#   \mathrm{MTE}=\operatorname{mean}\big|q_j(x)-p_j(x)\big|$$
#
# over images, classes and steps, with the step length $\xi$; a perfect copy has 0. This mean is the *transition error*.
# Such walks soon leave the data, so the error shows what a student has learnt away from them. The student with data
# learns from the teacher's answers to the 12,000 training images. DAFL's student is that of the first seed.

# %%
with_data = make_student(FIRST_SEED)
order = torch.randperm(len(source.train), generator=torch.Generator().manual_seed(FIRST_SEED))[:train_images]
kdnb.distil(
    with_data, teacher, source.train.select(order), method="kd", temperature=1, weight=1, label_weight=0, epochs=2,
    batch_size=batch_size, optimiser="adam", lr=student_lr, precision="32", seed=FIRST_SEED,
)  # fmt: skip
shown = {"with data": with_data, "DAFL, first seed": students["DAFL", FIRST_SEED]}
shown |= {name: relatives[name] for name in ("ZSKT", "DFAD", "ZSKD")}
walkers, true = next(data.Batches(test.select(slice(60)), 60, shuffle=False, mean=source.mean, sd=source.sd).epoch(0))[:2]
beliefs = {
    name: {"accuracy, %": percent(student), "transition error": data_free.mean_transition_error(student, teacher, walkers, true, steps=20)}
    for name, student in shown.items()
}  # fmt: skip

# %% tags=["nbval-ignore-output"]
figures.table(
    pd.DataFrame(beliefs).T, decimals={"accuracy, %": 1, "transition error": 2},
    caption="Accuracy on the test images, and mean transition error over walks of 20 steps that start at up to 60 of them. One run of each method.",
)  # fmt: skip

# %% [markdown]
# The student with data is the most accurate (94.4%). On these walks three of the four students without data follow the
# teacher at least as well: the error is 0.35 with data, 0.23 for ZSKT, 0.26 for DAFL and 0.34 for DFAD; ZSKD's is 0.63.
# These are single, short runs. The record compares longer ones over six seeds: 0.80 with data, 0.50 with ZSKT.
#
# ### The opposite question: ten images for a whole data set
#
# Dataset distillation has the data and condenses them into ten images, one for each class, on which three gradient
# steps train a perceptron (64 hidden units) with known initial weights. The control is three steps on ten real images,
# at the best of several rates, chosen on held-out training images.

# %%
def first_weights(seed):
    torch.manual_seed(seed)
    network = nets.build("mlp", widths=[64])
    for part in network.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    return network


known, few = first_weights(FIRST_SEED), source.train.select(order)
distilled = data_free.DistilledData(1, torch.arange(10), shape, epochs=3, lr=0.1, seed=FIRST_SEED)
on_images = kdnb.Recipe(epochs=3, batch_size=200, optimiser="adam", lr=0.05, schedule="cosine", precision="32")
data_free.distil_dataset(distilled, known, few, on_images, seed=FIRST_SEED)
one_each = torch.stack([(few.labels == k).nonzero()[0, 0] for k in range(10)])
real_images = next(data.Batches(few.select(one_each), 10, shuffle=False, mean=source.mean, sd=source.sd).epoch(0)).images
by_rate = {}
for rate in (0.01, 0.03, 0.1, 0.3):
    real = data_free.DistilledData(1, torch.arange(10), shape, epochs=3, lr=rate)
    real.images.data.copy_(real_images[None])
    network = data_free.trained_on(real, known)
    by_rate[percent(network, source.validation.select(slice(2000)))] = percent(network)
ten = {
    "ten distilled images, known weights": percent(data_free.trained_on(distilled, known)),
    "ten distilled images, other weights": percent(data_free.trained_on(distilled, first_weights(FIRST_SEED + 1))),
    "ten real images, known weights": by_rate[max(by_rate)],
}  # fmt: skip
margin = ten["ten distilled images, known weights"] - ten["ten real images, known weights"]
print("distilled images beat real ones by 20 points or more:", margin >= 20)

# %% tags=["nbval-ignore-output"]
figures.save(
    figures.images(pixels(distilled.images[0].detach()), columns=list(source.classes), size=0.75),
    "5-6-ten",
    alt="Ten images that look like noise with faint strokes. Accuracies after three steps: " + ", ".join(f"{name}: {value:.1f}%" for name, value in ten.items()),
    caption="After three steps on ten distilled images, a perceptron with the known initial weights is right on {:.1f}% of the test images, and one with other weights on {:.1f}%; "
    "on ten real images the first one reaches {:.1f}%.".format(*ten.values()),
)  # fmt: skip

# %% [markdown]
# Ten distilled images take the network that they were made for to 80.7%, but one with other initial weights to 34.7%,
# no more than ten real images give the known network (39.3%). They are made for one network.


# %% [markdown]
# ## The reproduction
#
# The live part is a demonstration. The papers' claims are tested on committed records of six seeds each, whose students
# are evaluated on all 10,000 test images. Claims and premises are in `papers/<key>/claims.toml`.
# [How a claim is judged](../docs/verdicts.md) explains the words.
#
# ### Chen et al. 2019 (DAFL)
#
# | | published | ours | one long run |
# |---|---|---|---|
# | generator, channels | 128 | 16 | 128 |
# | images in a batch | 512 | 64 | 64 |
# | iterations | 24,000 | 3,000 | 24,000 |
# | rate of the generator's Adam | 0.2 | 0.05 | 0.01 |
# | seeds | 1 | 6 | 1 |
#
# So ours makes a 64th of the published number of images, the long run an eighth. Networks and data are the paper's
# (LeNet-5, LeNet-5-Half, MNIST), and teachers learn from all 60,000 training images. The noise control has the same
# 3,000 iterations. We always evaluate the student of the **last iteration**; the released code keeps the one that is
# best on the test set.

# %%
show_verdicts(papers.verdicts("chen2019dafl", "laptop"), "laptop", grouped=True)

# %%
dafl_arms = {
    "dafl": "DAFL, all three terms", "dafl_published_rate": "DAFL at the published rate",
    "only_one_hot_entropy": "one-hot and entropy", "only_entropy_activation": "entropy and activation",
    "only_entropy": "entropy alone", "only_one_hot": "one-hot alone", "only_one_hot_activation": "one-hot and activation",
    "only_activation": "activation alone", "noise": "noise", "distilled": "student distilled with data",
    "student": "student on labels", "teacher": "teacher",
}  # fmt: skip
more = {
    "dafl_natural": "DAFL, natural logarithm", "larger_dafl": "DAFL, a quarter of the images", "larger_noise": "noise, a quarter of the images",
    "cifar10_dafl": "DAFL on CIFAR-10",
}  # fmt: skip
figures.published_and_ours(papers.show_frame("chen2019dafl", "laptop"), dafl_arms | more | {"accuracy": "accuracy"})

# %%
record = papers.read_record("chen2019dafl", "laptop").table()
long = papers.read_record("chen2019dafl", "long").table()
published = {
    "dafl": 98.20, "noise": 88.01, "distilled": 98.91, "student": 98.65, "teacher": 98.91, "only_one_hot_entropy": 97.25,
    "only_entropy_activation": 95.53, "only_entropy": 88.14, "only_one_hot": 78.77, "only_one_hot_activation": 42.07, "only_activation": 15.95,
}  # fmt: skip
recorded = figures.tidy(record, "accuracy", dafl_arms)
roles = {dafl_arms["dafl"]: "method", dafl_arms["dafl_published_rate"]: "method", "teacher": "teacher", "noise": "student"}
roles |= {name: "other" for name in dafl_arms.values() if name not in roles}
figure = figures.published_beside_ours(
    recorded, "accuracy", "test accuracy, %", {dafl_arms[arm]: value for arm, value in published.items()}, roles=roles,
)  # fmt: skip
figures.save(
    figure,
    "5-6-recorded",
    alt="Mean test accuracies in the record: " + ", ".join(f"{name} {record[arm, 'accuracy'].mean():.1f}%" for arm, name in dafl_arms.items()) + ".",
    caption=f"DAFL's student reaches {record['dafl', 'accuracy'].mean():.1f}% without any real image, and {record['noise', 'accuracy'].mean():.1f}% when it is trained on noise. Without the entropy "
    "term the student fails; with it the results vary. Points show the mean and 95% interval over six seeds, hollow diamonds the published values of one run each; the paper's generators made 64 times as many images.",
)  # fmt: skip

# %%
shares = {f"accuracy_after_{share}": share for share in (20, 40, 60, 80)} | {"accuracy": 100}
drawn = {arm: dafl_arms[arm] for arm in ("dafl", "dafl_published_rate", "only_one_hot_entropy", "noise")}
parts = [
    figures.tidy(table, metric, {arm: name}).rename(columns={metric: "accuracy"}).assign(share=share)
    for table, arms in ((record, drawn), (long, {"dafl": "DAFL, the long run"}))
    for arm, name in arms.items()
    for metric, share in shares.items()
]  # fmt: skip
figure = figures.lines(
    pd.concat(parts), "accuracy", "test accuracy, %", over="share", over_label="share of the iterations, %", bars=True, baseline=98.20,
    baseline_label="DAFL, published", roles={name: roles[name] for name in drawn.values()},
)  # fmt: skip
figure.axes[0].set_ylim(0, 103)
figures.save(
    figure,
    "5-6-course",
    alt="Test accuracy after one fifth to all of the iterations. The student on noise improves throughout. At the end: " + ", ".join(f"{name} {record[arm, 'accuracy'].mean():.1f}%" for arm, name in drawn.items())
    + f", DAFL in the long run {long['dafl', 'accuracy'].mean():.1f}%.",
    caption=f"The student on noise is still improving at the end. DAFL ends at {record['dafl_published_rate', 'accuracy'].mean():.1f}% with the published rate, and at "
    f"{record['dafl', 'accuracy'].mean():.1f}% with the rate that we had chosen. Points show the mean and 95% interval over six seeds; the long run is one seed with eight times the iterations.",
)  # fmt: skip


# %%
def gap(table, first, second, metric="accuracy"):
    """A mean paired difference with its 95% interval, as text."""
    difference = table[first, metric] - table[second, metric]
    low, high = figures.interval(difference)
    return f"{difference.mean():.1f} ({low:.1f} to {high:.1f}), above 0 in {(difference > 0).sum()} of {len(difference)} seeds"


for one, other in (
    ("dafl", "noise"), ("distilled", "dafl"), ("dafl_published_rate", "dafl"), ("dafl", "only_one_hot_entropy"),
    ("dafl", "only_entropy_activation"), ("dafl", "only_entropy"), ("dafl", "only_one_hot"), ("dafl", "only_one_hot_activation"),
):  # fmt: skip
    print(f"{dafl_arms[one]} - {dafl_arms[other]}: {gap(record, one, other)}")
for arm in ("dafl", "dafl_published_rate", "only_one_hot_entropy", "only_entropy_activation", "only_entropy"):
    one = record[arm]
    print(f"{dafl_arms[arm]}: {one['accuracy'].min():.1f} to {one['accuracy'].max():.1f}% in single seeds; standard deviation of the last ten checks "
          f"{one['last_ten_accuracy_sd'].mean():.1f}; best check {(one['best_accuracy'] - one['accuracy']).mean():.1f} points above the last; "
          f"class balance {one['class_balance'].mean():.2f}, warnings in {one['collapse_warnings'].mean():.0f} of 25 checks")  # fmt: skip
for arm in ("only_one_hot", "only_one_hot_activation", "only_activation"):
    print(f"{dafl_arms[arm]}: class balance {record[arm, 'class_balance'].mean():.2f}, warnings in {record[arm, 'collapse_warnings'].mean():.0f} of 25 checks")
for arm in ("dafl", "dafl_published_batch"):
    one = long[arm]
    print(f"long run, {arm}: last check {one['accuracy'].mean():.1f}%, mean of the last ten {one['last_ten_accuracy'].mean():.1f}%, best {one['best_accuracy'].mean():.1f}%")

# %% [markdown]
# **What holds, and what does not.** Both premises hold: the teacher is better than the student trained on labels (98.8
# against 98.3%), and this student can learn the data.
#
# - *Generated images teach far better than noise*: reproduced. 90.2% against 44.5%, with as many iterations for both:
#   45.8 points (34.7 to 56.9). Noise reaches 88.0% in the paper; ours is still rising at the end.
# - *More than 93% without one image*: inconclusive, 90.2% (84.6 to 95.9). Five seeds lie between 88 and 94%, one
#   at 80%.
# - *Less than 2 points below distillation with data*: contradicted at this size. The gap is 7.9 points (2.2 to 13.5),
#   published 0.7.
# - *The entropy decides*: partly reproduced. Without it 27.0% are left (published 42.1), and the detector warned at
#   every check. With entropy and one-hot term the student comes within 5 points of all three terms (0.3, 2.1 less to
#   2.6 more). But with the activation in place of the one-hot term results vary widely: 71.0% on average, single seeds
#   from 36 to 93%.
# - *All three terms are best*: inconclusive. One-hot and entropy term without the activation reach almost the same mean
#   (0.3 points less, as above): with six seeds the activation term shows no effect.
# - *Our check, the logarithm*: natural logarithms with the converted weight give exactly the same six accuracies.
#
# *Why not 98%?* Three things differ from the paper, and our runs say something about each.
#
# - **The rate.** At the published 0.2 the same run reaches 94.5%, ahead in all six pairs, by 4.2 points on average
#   ($-1.4$ to 9.8). The claims judged here are about the runs at 0.05, and nothing was changed after the result was
#   seen: the verdicts stand. The rate of 0.05 had been chosen on held-out training images on a CPU that computes in bfloat16.
#   There a first record at 0.2 had been stopped because generators died, after its test errors had been seen. The final
#   record was made on another CPU, in float32, where all six survived.
# - **The size.** With 128 channels and batches of 64 a generator dies at 0.2 within 480 iterations, and at 0.05 after
#   8,000 (one seed each). We inspected both. Before the tanh every value of every image lay between $-13{,}500$ and
#   $-900$, so the tanh is $-1$ everywhere. Normalised over the batch this is a blank image, with a gradient of exactly
#   0 for every weight: the generator cannot recover. At 0.01 a generator survives 24,000 iterations. Its student ends
#   at 95.9%; its best check has 96.9%.
# - **The batch.** With the published 512 images the generator survives the rate of 0.2. After 480 iterations its
#   student has 91.8%. We did not run the rest of the 24,000, which would take two CPU cores about 6 hours per seed.
#
# *The last iteration or the best?* Over the last ten checks DAFL's accuracy has a standard deviation of 2.1 points, and
# the best check of a run lies 1.2 points above its last. This is what choosing by the test set would have added. Where
# a generator fails (entropy and activation) it would have added ten.
#
# ### The other four papers
#
# | paper | published | ours |
# |---|---|---|
# | ZSKD | MNIST; 24,000 impressions of 1,500 steps, shown augmented | MNIST; 4,000 of 100 steps, shown as they are |
# | ZSKT | CIFAR-10 and SVHN, wide ResNets; 80,000 batches, 128 channels | MNIST, LeNet-5; 325 batches, 16 channels |
# | DeepInversion | CIFAR-10; new images all the time | MNIST; one bank of 1,500, a teacher of three convolutions (8,762 weights), DAFL's student (15,738) |
# | dataset distillation | MNIST; 400 passes over the data | MNIST; 8 passes for known weights, 2 for random ones |
#
# In DeepInversion's record the student is larger than its teacher: the record tests the lack of data, not compression,
# and its published values are for CIFAR-10. ZSKD's "half LeNet-5" is not DAFL's; it has 35,820 weights. *Not
# confirmed:* the published values of dataset distillation except 94 and 99, and those of DAFL's second table, the three
# terms one by one.

# %%
for key in ("nayak2019zskd", "micaelli2019zskt", "yin2020deepinversion", "wang2018dd"):
    show_verdicts(papers.verdicts(key, "laptop"), "laptop", grouped=True)

# %%
with_data = {"teacher": "teacher", "distilled": "student distilled with data", "student": "student on labels", "noise": "noise"}
others = {
    "nayak2019zskd": {"data_impressions": "ZSKD, data impressions", "class_impressions": "class impressions"} | with_data,
    "micaelli2019zskt": {"zskt": "ZSKT", "without_attention": "ZSKT without attention maps"} | with_data,
    "yin2020deepinversion": {
        "adaptive": "adaptive DeepInversion", "deep_inversion": "DeepInversion", "deep_dream": "DeepDream"} | with_data,
    "wang2018dd": {
        "fixed": "10 distilled, known weights", "fixed_real": "10 real, known weights", "random": "100 distilled, any weights",
        "random_real": "100 real, any weights", "average_real": "mean images, any weights", "teacher": "all data"},
}  # fmt: skip
titles = {
    "nayak2019zskd": "ZSKD, Nayak et al. 2019", "micaelli2019zskt": "ZSKT, Micaelli and Storkey 2019",
    "yin2020deepinversion": "DeepInversion, Yin et al. 2020", "wang2018dd": "dataset distillation, Wang et al. 2018",
}  # fmt: skip
codes = {"cifar10_zskt": "ZSKT on CIFAR-10", "cifar10_distilled": "student with data on CIFAR-10"}
frames = [
    figures.published_and_ours(papers.show_frame(key, "laptop"), names | codes | {"accuracy": "accuracy", "fresh_accuracy": "accuracy from other weights"})
    for key, names in others.items()
]  # fmt: skip
pd.concat(dict(zip(titles.values(), frames, strict=True)), names=["paper"])

# %%
tables = {key: papers.read_record(key, "laptop").table() for key in others}
figure, grid = plt.subplots(4, 1, figsize=(8.4, 9.6), height_ratios=[6, 6, 7, 6], layout="constrained")
for axes, (key, names) in zip(grid, others.items(), strict=True):
    first = next(iter(names.values()))
    shown = {name: "other" for name in names.values()} | {first: "method"}
    shown |= {name: role for name, role in {"teacher": "teacher", "all data": "teacher", "noise": "student"}.items() if name in shown}
    known = {"nayak2019zskd": {"data_impressions": 98.77, "distilled": 99.25, "student": 98.92, "teacher": 99.34},
             "wang2018dd": {"fixed": 94, "random": 79.5, "random_real": 68.6, "average_real": 77.1, "teacher": 99}}.get(key, {})  # fmt: skip
    figures.points(
        figures.tidy(tables[key], "accuracy", names), "accuracy", "test accuracy, %" if axes is grid[-1] else "", roles=shown, axes=axes,
        published={names[arm]: value for arm, value in known.items()} or None,
    )  # fmt: skip
    axes.set(title=titles[key], xlim=(0, 102))
    if axes is not grid[-1] and axes.get_legend():
        axes.get_legend().remove()
figures.save(
    figure,
    "5-6-others",
    alt="Without data, the students of all three methods end far above noise and below the students with data. " + " ".join(f"{titles[key]}: " + ", ".join(f"{name} {tables[key][arm, 'accuracy'].mean():.1f}%" for arm, name in names.items()) + "." for key, names in others.items()),
    caption="The other four records. Without data ZSKD's student reaches {:.1f}%, ZSKT's {:.1f}% and adaptive DeepInversion's {:.1f}%. Points show the mean and 95% interval "
    "over six seeds, hollow diamonds the values published for the same data.".format(*(
        tables[key][arm, "accuracy"].mean() for key, arm in (
            ("nayak2019zskd", "data_impressions"), ("micaelli2019zskt", "zskt"), ("yin2020deepinversion", "adaptive")))),
)  # fmt: skip

# %%
pairs = {
    "nayak2019zskd": [("data_impressions", "noise"), ("distilled", "data_impressions"), ("data_impressions", "class_impressions")],
    "micaelli2019zskt": [("zskt", "noise"), ("teacher", "zskt"), ("zskt", "without_attention")],
    "yin2020deepinversion": [("deep_inversion", "deep_dream"), ("deep_inversion", "noise"), ("adaptive", "deep_inversion"), ("teacher", "adaptive")],
    "wang2018dd": [("fixed", "fixed_real"), ("random", "random_real"), ("random", "average_real"), ("fixed", "random")],
}  # fmt: skip
for key, some in pairs.items():
    for one, other in some:
        print(f"{others[key][one]} - {others[key][other]}: {gap(tables[key], one, other)}")
error = {arm: tables["micaelli2019zskt"][arm, "transition_error"].mean() for arm in ("distilled", "zskt", "without_attention")}
print("mean transition errors:", ", ".join(f"{others['micaelli2019zskt'][arm]} {value:.2f}" for arm, value in error.items()))
print("student with data - ZSKT, transition error:", "{:.2f} ({:.2f} to {:.2f})".format(
    (difference := tables["micaelli2019zskt"]["distilled", "transition_error"] - tables["micaelli2019zskt"]["zskt", "transition_error"]).mean(),
    *figures.interval(difference)))  # fmt: skip
print(f"a network with other weights after ten distilled images: {tables['wang2018dd']['fixed', 'fresh_accuracy'].mean():.1f}%")

# %% [markdown]
# - **ZSKD.** Impressions teach (76.3%), the noise in which they begin teaches little (25.0%). But the paper has 98.8%, our
#   claim required 90%, and with data the same student has 98.5%: two published claims are contradicted at this size. We
#   make a sixth of the impressions, with a fifteenth of the steps and without augmentation; the record does not show
#   how much each of these costs. Dirichlet targets are 5.1 points ahead of one-hot ones (5.3 behind to 15.5 ahead):
#   undecided, with seeds of one condition up to 19 points apart.
# - **ZSKT.** 93.9% without an image, 45.1% on noise. It stays 4.9 points below its teacher (3.6 to 6.3), where the
#   claim allowed 3: contradicted. Its main finding, on *beliefs*, is reproduced: a transition error of 0.50 against
#   0.80 for the student with data (a difference of 0.30, 0.14 to 0.46). The latter is more accurate and yet follows the
#   teacher less away from the data. Attention maps show no effect ($-0.3$ points, $-1.3$ to 0.8).
# - **DeepInversion.** The statistics decide: 73.2% against 25.5% without them and 13.0% on noise. The competition shows
#   no effect (0.1 points, $-4.7$ to 4.9; published 1.8). The student stays 25 points below its teacher (14 to 36),
#   where the claim allowed 5: contradicted at this size. In the last fifth of its passes a student still gains some 4
#   points, so there are too few passes, and perhaps too few images.
# - **Dataset distillation.** Ten images and three steps take the known network to 86.7%, ten real ones to 19.6%. Our
#   claim required 90% at a fiftieth of the passes: contradicted. Networks with other weights stay at chance (10.3%):
#   the images are made for one network. A hundred images for any network reach 59.3%, 7.7 points more than real ones,
#   but not more than ten mean images, one of each class, shown in every step (65.6%; the difference is undecided).
#
# **What this tells about the papers.** Their main mechanisms hold: images can be made out of a teacher, balance and
# statistics decide, and noise is far behind. The additions (the activation term, Dirichlet targets, attention maps, the
# competition) made no difference that six seeds could show. None of the four methods without data comes as *close* to
# its teacher, or to a student with data, as its paper reports. *Contradicted* here means contradicted at this size:
# none of these records has the published size. For DAFL a larger setting is registered and not yet run
# ([`setting.md`](../papers/chen2019dafl/setting.md)); its claims are among those marked *not testable here*.
#
# ## What you need, what it buys, when to choose it
#
# | method | what you need | what it buys | choose it when |
# |---|---|---|---|
# | DAFL | the teacher's gradient, one inner layer | any number of images, made as they are needed | few classes, and nothing was kept of the data |
# | ZSKT | the gradient at the logits | images that seek what the student does not know | the student should believe what the teacher believes, away from the data too (93.9% in its record, DAFL 90.2% and 94.5% in another) |
# | DFAD | the same | the same, with a loss that is never flat | the divergence has become too flat to guide the generator |
# | ZSKD | the gradient, and the last layer's weights | a bank that any student can use | there is no batch normalisation, and the bank should outlive the run |
# | DeepInversion | batch normalisations with stored statistics | images that look like the data | the networks are large, or people will look at the images |
# | CMI | the same, and a memory | diversity over the whole bank | a bank repeats itself |
# | Fast | the same | a batch in a few steps | time is short |
# | activation records | statistics, stored while the data were there | what each layer did, by class | you train the teacher, and know that the data must go |
# | pseudo-examples | a few real images | images between and around them | a hundred images are all there is |
# | data distillation | unlabelled real images, the logits | free labels | there are many images and few labels |
# | dataset distillation | all data once; the student's architecture | training in a handful of steps | the same training is repeated many times |
# | noise (the control) | the logits alone | a lower bound | always, beside the others |
#
# **It fails, or is not worth its cost, when**
#
# - *the generator collapses or dies.* Watch balance, diversity and confidence while it runs. A rate that is safe at one
#   width, batch or precision need not be safe at another.
# - *there is nothing to choose settings by.* Without data there is no validation set. The published settings were
#   chosen by people who had the data, and so were ours, on held-out training images.
# - *the teacher is hard to imitate.* A better teacher is not always easier to imitate. In our pilots, teachers with an
#   accuracy of 94 to 98% gave students of 85 to 90% within 400 iterations. The LeNet-5 that comes with the workbook is
#   right on 99.5%, and its student reached 63% in 500 (one seed; exercise 1). It was trained with shifts, weight decay
#   and SGD; we do not know which of these matters.
# - *other images exist.* Unlabelled photographs of anything are often a better transfer set than generated images (data
#   distillation above).
# - *the student would do as well on noise.* Always compare.

# %% [markdown]
# ## With your own model
#
# Training needs no data, so the calls get none. `kdnb.data_free` builds the generator and finds the layer of the
# activation term for networks of kdnb, timm and torchvision; for others name it with `features="path.of.a.module"`. The
# generator makes images that are already normalised by the mean and standard deviation that your teacher was trained
# with. Replace the networks in the first line. The second makes the control.

# %% tags=["nbval-ignore-output"]
my_teacher, my_student = teacher, make_student(1)
my_control = copy.deepcopy(my_student)

options = {"epochs": 3, "steps": 200, "batch_size": 64, "optimiser": "adam", "lr": 0.002, "precision": "32"}
fit = kdnb.data_free(my_student, my_teacher, method="zskt", shape=(1, 32, 32), width=16, **options)
kdnb.data_free(my_control, my_teacher, method="noise", shape=(1, 32, 32), **options)
print(fit.history[["soft", "class_balance", "diversity", "confidence"]].round(2).to_string())
print(f"the student agrees with the teacher on {100 * kdnb.evaluate(my_student, test, teacher=my_teacher)['agreement']:.0f}% of the test images, "
      f"the control on {100 * kdnb.evaluate(my_control, test, teacher=my_teacher)['agreement']:.0f}%")  # fmt: skip

# %% [markdown]
# After 600 steps the student agrees with its teacher on 73% of the test images, and the control on 46%, in one run
# each. For a useful student take several times as many steps: the record's student has 3,250, and is right on 93.9%.
#
# The last `print` works only in this chapter: you will have few test images or none. To keep the generated images:
# `data_free.bank_of(data_free.generate(fit.networks["generator"], 1000), my_teacher).save(path)`.
#
# ## Exercises
#
# **1. A better teacher.** Use `shipped`, the LeNet-5 that comes with the workbook, in place of `teacher` in the
# experiment. It is right on 99.5% of the test images. Is its student better?
#
# <details><summary>Solution</summary>
#
# Not in our pilots, on held-out images. At the rate of 0.05 its student reached 63% after 500 iterations. At 0.2 one
# seed reached 75% after 600; the generator of another ended up making a single class, and its student stayed at 30%.
# Students of our own teachers, trained on 12,000 images, reached 85 to 90% within 400 iterations. The three losses do
# not know how good the teacher is on data; they only see how it reacts to what the generator can make.
#
# </details>
#
# **2. What the two terms want.** Show that $\frac1B\sum_bH(p_b)-H(\bar p)$ is least when every answer is certain
# and all classes are equally frequent. What is its value there?
#
# <details><summary>Solution</summary>
#
# $H(p_b)\ge0$, with equality for certain answers, and $H(\bar p)\le\log K$, with equality for uniform $\bar p$. Both
# can hold at once, and the sum is then $-\log K$: the answer determines the class of the image.
#
# </details>
#
# **3. All three losses at their best, and nothing learnt.** Construct a teacher for which a generator satisfies all
# three terms with images that teach nothing about digits.
#
# <details><summary>Solution</summary>
#
# Any teacher that can be fooled: if ten small patterns in the corner make it sure of ten classes and drive its
# filters up, a generator that makes these patterns on a grey ground is at the optimum. A student learns the
# patterns. The losses see the teacher's reaction, never the data.
#
# </details>
#
# **4. Dead or collapsed?** A generator makes one image. How do you tell whether it can recover?
#
# <details><summary>Solution</summary>
#
# Look at its gradients. A collapsed generator still has some: the entropy term pushes it towards other classes. A dead
# one has exactly 0 for every weight, since its tanh is saturated for every pixel of every image. In the record's long
# runs the values before the tanh were then below $-900$. Start again at a lower rate.
#
# </details>
#
# **5. How many distilled images?** A linear map with $K$ outputs and no bias is trained from zero weights by one
# gradient step on squared errors. How many distilled images does it need, so that this step can reach every weight
# matrix?
#
# <details><summary>Solution</summary>
#
# At zero weights the gradient is $-\sum_iy_i\tilde x_i^\top$, a sum of as many outer products as there are images. A
# weight matrix of rank $K$ needs $K$ of them, and with one-hot labels of all classes $K$ images are enough: row $k$ is
# $\tilde\eta\,\tilde x_k^\top$.
#
# </details>
#
# **6. A paper without a control.** Somebody reports 88% on MNIST without data. What is your first question?
#
# <details><summary>Solution</summary>
#
# What does plain noise give with as many images and steps? In DAFL's own table it gives 88.01%.
#
# </details>
#
# ## References
#
# The survey: Gou, Yu, Maybank and Tao, *Knowledge Distillation: A Survey*, IJCV 2021
# ([DOI](https://doi.org/10.1007/s11263-021-01453-z), [arXiv](https://arxiv.org/abs/2006.05525)).
#
# - Chen et al., *Data-Free Learning of Student Networks*, ICCV 2019 ([arXiv](https://arxiv.org/abs/1904.01186)).
# - Micaelli and Storkey, *Zero-shot Knowledge Transfer via Adversarial Belief Matching*, NeurIPS 2019
#   ([arXiv](https://arxiv.org/abs/1905.09768)).
# - Fang et al., *Data-Free Adversarial Distillation*, 2019 ([arXiv](https://arxiv.org/abs/1912.11006)).
# - Nayak et al., *Zero-Shot Knowledge Distillation in Deep Networks*, ICML 2019
#   ([arXiv](https://arxiv.org/abs/1905.08114)).
# - Yin et al., *Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion*, CVPR 2020
#   ([arXiv](https://arxiv.org/abs/1912.08795)).
# - Fang et al., *Contrastive Model Inversion for Data-Free Knowledge Distillation*, IJCAI 2021
#   ([arXiv](https://arxiv.org/abs/2105.08584)).
# - Fang et al., *Up to 100x Faster Data-Free Knowledge Distillation*, AAAI 2022
#   ([arXiv](https://arxiv.org/abs/2112.06253)).
# - Lopes, Fenu and Starner, *Data-Free Knowledge Distillation for Deep Neural Networks*, 2017
#   ([arXiv](https://arxiv.org/abs/1710.07535)).
# - Kimura et al., *Few-shot Learning of Neural Networks from Scratch by Pseudo Example Optimization*, BMVC 2018
#   ([arXiv](https://arxiv.org/abs/1802.03039)).
# - Radosavovic et al., *Data Distillation: Towards Omni-Supervised Learning*, CVPR 2018
#   ([arXiv](https://arxiv.org/abs/1712.04440)).
# - Wang et al., *Dataset Distillation*, 2018 ([arXiv](https://arxiv.org/abs/1811.10959)).
#
# ## How to cite
#
# The next cell prints the papers, the survey and this workbook in BibTeX, with our recorded results of DAFL.
# `kdnb cite nayak2019zskd` does the same for the others.

# %%
print(papers.cite("chen2019dafl", "laptop"))

# %% [markdown]
# <details><summary><b>Protocol notes and departures</b></summary>
#
# - **Setting of the live part.** It was chosen in pilots on held-out training images, seeds 100 to 102, with outcomes
#   in view, so the effects are examples, not estimates. Accuracies in percent. The shipped LeNet-5: 75.5 after 600
#   iterations at a rate of 0.2 (seed 100), 30.2 with seed 101, whose generator collapsed; 63.3 after 500 at 0.05. A
#   LeNet-5 of 12,000 images at 0.05: 89.4 after 400 (seed 100, teacher 94.1), 89.6 and 85.3 after 300 (seeds 101 and
#   102, teachers 97.4 and 97.7). With rates that fall along a cosine: 66.9 and 65.7 after 300. So the teacher is our
#   own, rates are constant, and we take 250 iterations to save time.
# - **Relatives.** One pilot (seed 100) of these lengths: ZSKT 72.5, DFAD 77.9, ZSKD 64.7, class impressions 60.8,
#   DeepInversion 74.9, DeepDream 23.4, CMI 60.2, Fast 74.4, noise 10.2. Dataset distillation of a LeNet-5 reached 31.3
#   in 120 steps, so a perceptron takes its place (82.1 in 180). Rates and weights are those of the records or of the
#   papers, the rest is ours; nothing was tuned. A first execution was shorter, to save time (400 steps of every
#   student, 50 on pixels), and was evaluated on test images: ZSKT 55.5, DFAD 62.6, ZSKD 70.5, class impressions 73.1,
#   DeepInversion 44.2, DeepDream 24.8, CMI 54.2, Fast 64.8, adaptive 41.1. There ZSKT and DeepInversion were 19.5 and
#   19.4 points ahead of their controls. After that, the lengths of the pilot were restored.
# - **No training image.** `kdnb.data_free` and the loop above have no argument for data. The functions that made the
#   records first replace the training and validation images by empty sets, and a test runs them on a data set that
#   raises an error when a training image is touched (`tests/methods/data_free`). Two numbers of the data remain: mean
#   and standard deviation of the pixels, which belong to the teacher's input.
# - **ZSKT.** The divergence sums over classes where the authors' code averages; our weight and clipping are $K$ times
#   theirs, which makes no difference to Adam. The record did not clip gradients (`papers/micaelli2019zskt/setting.md`).
#   Its student with data learns from the teacher's answers alone, without labels and attention maps. Walks begin at
#   images that the teacher and the student (in the record: all students) classify correctly; the authors' code takes
#   those on which the two agree.
# - **ZSKD.** Pixels are clipped, where the authors rescale every batch; impressions are not augmented.
# - **DeepInversion.** The competition is the Jensen-Shannon divergence itself; the authors' code clamps and swaps.
#   The record keeps the last images, the live part those of the lowest loss (`papers/yin2020deepinversion/setting.md`).
# - **Dataset distillation.** Batches of 256 in place of 1,024, Adam from 0.05 along a cosine. One random network per
#   step is the default of the authors' code, too.
# - **Not recorded here.** DFAD, CMI, Fast, activation records, pseudo-examples and data distillation have no record:
#   the live part shows that three of them run, and tests no claim. The docstrings mark under *Departures* what else was
#   written from memory.
#
# </details>
