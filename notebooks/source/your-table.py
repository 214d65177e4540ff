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
# # Your own table or text
#
# This notebook does with a table what [the one on images](your-own.ipynb) does with pictures: a student learns with a
# teacher, is compared over paired seeds with the same student trained on labels alone, and is written to files that are
# read back and checked. A column of text is read as a bag of words.
#
# As it stands it reads the American National Election Study of 1996, which comes with statsmodels: 944 voters, with
# their age, education and income, and where on a scale from left to right they place themselves and both candidates.
# The task is to predict for whom they voted. A teacher learns from all training rows, the students from 60. For your
# own table, give its path and the column of the classes:
#
#     kdnb run your-table --set table=customers.csv --set label=stays --set "leave_out=[\"id\"]"
#     kdnb run your-table --set table=mails.csv --set label=topic --set text=body --set rows=0
#
# Relative paths start from the workbook's folder. Rows without a label are left out; missing numbers are marked in a
# column of their own.

# %% tags=["parameters"]
table = ""  # a .csv or .tsv file; empty for the American National Election Study of 1996
label = "vote"  # the column of the classes
text = ""  # the column of text; empty for none
leave_out = []  # columns that are not read
held_out = 0.4  # the share of every class that nobody trains on
rows = 60  # training rows of the student; 0 for all
student_units = 32  # in the student's two hidden layers
teacher_units = 128  # in the teacher's two hidden layers, under dropout
temperature = 2.0
epochs = 60  # of the students
teacher_epochs = 20
lr = 0.003
seeds = 10  # paired repetitions
folder = ""  # for the exported files; empty for your-table/ in the folder of the runs

# %%
import warnings
from pathlib import Path

import pandas as pd
import torch
from torch import nn

import kdnb
from kdnb import data, figures, nets, paths, workbook

workbook.check(
    globals(),
    table=str,
    label=str,
    text=str,
    leave_out=list,
    held_out=(0.01, 0.99),
    rows=(0, 100_000_000),
    student_units=(1, 10_000),
    teacher_units=(1, 10_000),
    temperature=(0.01, 1000.0),
    epochs=(1, 10_000),
    teacher_epochs=(1, 10_000),
    lr=(0.000001, 10.0),
    seeds=(2, 1000),
    folder=str,
)
figures.use()
warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # TorchScript is one of the formats

target = Path(folder).expanduser() if folder else paths.runs() / "your-table"
paths.check_writable(target)  # now, not after the training

# %% [markdown]
# ## The table
#
# `data.own_table` standardises numbers and turns each category into a column, using the training rows alone. A share of
# every class is held out. In the election study, `selfLR`, `ClinLR` and `DoleLR` are the positions on the scale from
# left to right, and `PID` says how close a voter is to a party.

# %%
if table:
    frame = table
else:
    from statsmodels.datasets import anes96

    frame = anes96.load_pandas().data
    frame["vote"] = frame.vote.map({0: "Clinton", 1: "Dole"})
found = data.own_table(frame, label, text=text or None, leave_out=leave_out, held_out=held_out)
inputs, labels = found.train
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[: rows or None]
few = (inputs[order], labels[order])
print(found)
print("training rows of the student:", len(few[1]), "- classes:", ", ".join(found.classes[:10]))

# %% [markdown]
# ## Teacher and student
#
# Both are perceptrons with two hidden layers. The teacher learns from all training rows, with dropout. The student sees
# only a few rows, often enough to make no error on them.

# %% tags=["nbval-ignore-output"]
def perceptron(units, seed, dropout=0.0):
    """A network of two hidden layers with the initial weights of a seed."""
    torch.manual_seed(seed)
    layers = [nn.Linear(len(found.columns), units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, units), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(units, len(found.classes)))


options = {"optimiser": "adam", "lr": lr, "schedule": "cosine", "precision": "32"}
teacher = perceptron(teacher_units, 0, dropout=0.5)
kdnb.train(teacher, found.train, epochs=teacher_epochs, batch_size=64, **options)
recipe = kdnb.Recipe(epochs=epochs, batch_size=min(64, max(2, len(few[1]) // 4)), **options)
student = perceptron(student_units, 0)
fit = kdnb.distil(student, teacher, few, recipe, temperature=temperature, label_weight=0.1)
alone = perceptron(student_units, 0)
kdnb.train(alone, few, recipe)
measured = {"teacher": teacher, "distilled student": student, "student on labels alone": alone}
measured = pd.DataFrame({name: kdnb.evaluate(network, found.held_out) for name, network in measured.items()}).T
figures.table(measured[["errors", "accuracy", "cross_entropy", "calibration"]], decimals={"errors": 0, "accuracy": 4, "cross_entropy": 3})

# %% [markdown]
# Look at the cross-entropy and the calibration as well as at the errors. A network that has memorised the labels of a
# few rows is sure of itself even where it is wrong; the teacher's answers show how sure one can be.
#
# ## Does it help?

# %%
setting = kdnb.Toy(
    train=few, held_out=found.held_out, student=lambda seed: perceptron(student_units, seed), teacher=teacher, recipe=recipe, name="your table"
)
conditions = {"undistilled": None, "distilled": {"method": "kd", "temperature": temperature, "label_weight": 0.1}}
compared = kdnb.compare(conditions, setting=setting, seeds=seeds, control="undistilled")
print("the distilled student is", compared.against("undistilled").verdict["distilled"])

# %% tags=["nbval-ignore-output"]
figures.table(compared.against("undistilled").drop(columns="p_holm"), decimals={"errors": 1, "difference": 1, "low": 1, "high": 1, "p": 3})

# %% tags=["nbval-ignore-output"]
count = len(found.held_out[1])
tidy = compared.errors.reset_index().melt("seed", var_name="condition", value_name="errors")
tidy["errors"] *= 100 / count
figure = figures.points(
    tidy, "errors", f"errors on {count} held-out rows, %", roles={"undistilled": "student", "distilled": "method"}, baseline="undistilled"
)
gap = compared.against("undistilled").loc["distilled"]
figures.save(
    figure, "your-table-paired", alt=f"The distilled student is {gap.verdict} over {seeds} paired seeds: {gap.difference:+.1f} errors on average.",
    caption=f"Distilled minus undistilled: {gap.difference:+.1f} held-out errors on average over {seeds} paired seeds (95% interval {gap.low:+.1f} to "
    f"{gap.high:+.1f}), that is, {gap.verdict}. Small points are seeds, lines the 95% intervals of each condition's own mean.",
)  # fmt: skip

# %% [markdown]
# ## The student as files
#
# Each file is read back and compared with the network before it is kept; then it classifies the held-out rows.

# %% tags=["nbval-ignore-output"]
files = kdnb.export(student, few[0][:200], target)
figures.table(files, decimals={"kB": 0, "difference": 4, "agreement": 3})

# %%
def reader(form, file):
    """A file of the student, ready to classify."""
    if form == "state_dict":  # weights alone: a network like it is built first
        return nets.load_weights(perceptron(student_units, 1), file).eval()
    return torch.export.load(file).module() if form == "torch_export" else torch.jit.load(file)


wanted = kdnb.evaluate(student, found.held_out).errors
for form, file in files.file.items():
    if file and form != "onnx":
        with torch.no_grad():
            answers = reader(form, target / file)(found.held_out[0])
        different = abs(int((answers.argmax(1) != found.held_out[1]).sum()) - wanted)
        print(f"{form}: as good as the network:", "yes" if different <= (0.02 * len(found.held_out[1]) if form == "int8" else 2) else "no")

# %% [markdown]
# ## What the files need
#
# A file takes rows as `data.own_table` makes them: in the order of `found.columns`, standardised by the training rows.
# Keep the columns and the training rows with the file. Text in another form, such as tokens for a transformer, goes to
# kdnb's functions directly: see example 4 of [docs/your-data.md](../docs/your-data.md), and
# [chapter 5.5](5-5-attention-based.ipynb) for methods that transfer attention. To cite what you used:
# `kdnb cite hinton2015`.
