"""Chapter 5-6's gallery: synthetic images in one style, what the collapse detector says, tables."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import ipywidgets
import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from kdnb import figures
from kdnb.data import ImageData
from kdnb.methods.data_free import Bank, CollapseDetector
from kdnb.papers.claims import Verdict

NOT_JUDGED = "illustrated, not judged"


def pixels(images: Tensor, source: ImageData) -> Tensor:
    """Images as a network sees them (N, C, H, W), as uint8; beyond black and white they are cut."""
    mean, sd = (torch.tensor(value).view(-1, 1, 1) for value in (source.mean, source.sd))
    return (255 * (images * sd + mean)).round().clamp(0, 255).to(torch.uint8)


def sheet(
    banks: Mapping[str, Bank], source: ImageData, wanted: Mapping[str, Tensor] | None = None
) -> Figure:
    """A row a method: of every class the image that the teacher is surest of, and a histogram.

    A cross stands where the teacher takes no image for the class. The bars at the right are the
    class histogram; the dotted line is where all bars would end if the classes were balanced.

    Args:
        wanted: name -> the classes (images,) that a bank's images are meant for; they are then
            shown by these, while the histogram stays the teacher's.
    """
    classes = len(source.classes)
    figure, grid = plt.subplots(
        len(banks), 2, figsize=(8.8, 0.78 * len(banks) + 0.45), squeeze=False,
        width_ratios=[classes, 2.4],
    )  # fmt: skip
    for (row, bars), (name, bank) in zip(grid, banks.items(), strict=True):
        examples = bank.examples(1)
        if name in (wanted or {}):
            examples = [bank.images[wanted[name] == k][:1] for k in range(classes)]
        _strip(row, [pixels(shown, source)[0] if len(shown) else None for shown in examples])
        # An axis without a frame has no label of its own: a text beside the first image.
        row.text(-0.6, 0.5, _wrapped(name), ha="right", va="center", fontsize=9)
        bars.bar(range(classes), 100 * bank.histogram().numpy() / len(bank),
                 color=figures.BLUE, width=0.8)  # fmt: skip
        bars.axhline(100 / classes, color=figures.GREY, ls=":", lw=1)
        bars.set_xticks(range(classes), source.classes if row is grid[-1, 0] else [""] * classes)
        bars.tick_params(labelsize=7)
        bars.grid(False, axis="x")
    for label, title in enumerate(source.classes):
        grid[0, 0].text(label, 1.05, title, ha="center", fontsize=9)
    grid[0, 1].set_title("classes made, %", fontsize=9)
    return figure


def _strip(axes: plt.Axes, pictures: Sequence[Tensor | None]) -> None:
    """Pictures (C, H, W) side by side, as one, each around its number; a cross where there is none.

    Framed, for a picture may be white all over.
    """
    some = next(picture for picture in pictures if picture is not None)
    white = 0 if len(some) == 1 else 255  # a single channel is drawn dark on light
    cells = [torch.full_like(some, white) if one is None else one for one in pictures]
    framed = torch.cat([F.pad(cell, (1, 1, 1, 1), value=white) for cell in cells], 2)
    figures.image(axes, framed, (-0.5, len(pictures) - 0.5, 0, 1))
    edge = 1 / (some.shape[2] + 2)
    low, high = edge - 0.5, 0.5 - edge
    square = [(low, low), (low, high), (high, high), (high, low), (low, low)]
    cross = [[(-0.36, -0.36), (0.36, 0.36)], [(-0.36, 0.36), (0.36, -0.36)]]
    lines = [
        [(label + x, 0.5 + y) for x, y in line]
        for label, one in enumerate(pictures)
        for line in (cross if one is None else [square])
    ]
    axes.add_collection(LineCollection(lines, colors=figures.LIGHT, lw=1), autolim=False)


def _wrapped(name: str, width: int = 15) -> str:
    lines = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def collapse_table(
    banks: Mapping[str, Bank], accuracy: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """What the collapse detector measures of every bank, and below which of its limits it lies.

    Args:
        accuracy: of the student of each method, in percent; the column is left out without.
    """
    limits, rows = CollapseDetector(10).limits, {}
    for name, bank in banks.items():
        found = bank.summary()
        row = {"images": int(found.pop("images")), **{key: round(v, 2) for key, v in found.items()}}
        low = [key for key, at in limits.items() if found[key] < at]
        row["warning"] = ", ".join(f"{key} < {limits[key]}" for key in low) or "none"
        if accuracy is not None:
            row["student, % right"] = f"{accuracy[name]:.0f}" if name in accuracy else ""
        rows[name] = row
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    return frame.rename(columns=lambda name: name.replace("_", " "))


def explorer(banks: Mapping[str, Bank], source: ImageData) -> ipywidgets.Widget:
    """Choose a bank and a class; see the images of that class, the surest first."""
    name = ipywidgets.Dropdown(options=list(banks), description="method")
    label = ipywidgets.IntSlider(0, 0, len(source.classes) - 1, description="class",
                                 continuous_update=False)  # fmt: skip
    picture = ipywidgets.Image(format="png")

    def draw(_: object = None) -> None:
        figure, buffer = shelf(banks[name.value], label.value, source), io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        picture.value = buffer.getvalue()

    for control in (name, label):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([name, label]), picture])


def shelf(bank: Bank, label: int, source: ImageData, count: int = 20) -> Figure:
    """The images that the teacher takes for one class, the surest first, with its probability."""
    sure = bank.logits.softmax(1)
    chosen = [
        i for i in sure[:, label].argsort(descending=True).tolist() if bank.labels[i] == label
    ]
    rows = 1 if len(chosen) <= count // 2 else 2
    figure, grid = plt.subplots(rows, count // 2, figsize=(8.8, 0.4 + 1.05 * rows), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    shown = pixels(bank.images, source)
    for axes, i in zip(grid.flat, chosen[:count], strict=False):
        figures.image(axes, shown[i])
        axes.set_title(f"{100 * float(sure[i, label]):.0f}%", fontsize=8)
    found = f"{len(chosen)} of {len(bank)} images are of class {source.classes[label]}"
    figure.suptitle(f"{found} to the teacher; above each, how sure it is", fontsize=9)
    return figure


# --- the tables of the chapter --------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """A row of the method table.

    Attributes:
        paper: and the section of the survey.
        teaches: who teaches whom.
        costs: beyond the student's own training.
        call: of `kdnb.methods.data_free`.
        key: of the paper's claims; empty where there are none.
    """

    title: str
    paper: str
    teaches: str
    costs: str
    call: str
    key: str = ""


METHODS = (
    Method("DAFL", "Chen 2019; 5.1, 5.6", "teacher to generator, teacher to student",
           "a generator, trained beside it", "dafl(…)", "chen2019dafl"),
    Method("ZSKD", "Nayak 2019; 5.6", "teacher to pixels, then to student",
           "1,500 steps on every image", "data_impressions(…)", "nayak2019zskd"),
    Method("ZSKT", "Micaelli and Storkey 2019; 5.6", "teacher to student, where both differ",
           "a generator against the student", "zskt(…)", "micaelli2019zskt"),
    Method("DFAD", "Fang 2019; 5.6", "teacher to student, where both differ",
           "a generator against the student", "dfad(…)"),
    Method("DeepInversion, adaptive", "Yin 2020; 5.6", "stored moments to pixels, then student",
           "2,000 steps on every batch", "deep_inversion(…)", "yin2020deepinversion"),
    Method("activation records", "Lopes 2017; 5.6", "stored statistics to pixels, then student",
           "a record while the data last; steps on pixels", "record(…), reconstruct(…)"),
    Method("CMI", "Fang 2021; 5.6, after the survey", "as DeepInversion, against a memory",
           "a fresh generator a batch, a memory", "contrastive_inversion(…)"),
    Method("Fast", "Fang 2022; after the survey", "as DeepInversion, by a generator that is kept",
           "2 to 10 steps a batch", "fast_synthesis(…)"),
    Method("pseudo-examples", "Kimura 2018; 5.6, few-shot", "teacher to student, on few images",
           "a step on pixels for each of the student's", "pseudo_examples(…)"),
    Method("dataset distillation", "Wang 2018; 1, 5.6", "all data to a few images",
           "the training is differentiated, step by step", "distil_dataset(…)", "wang2018dd"),
    Method("data distillation", "Radosavovic 2018; 5.6", "a network over several views to itself",
           "an answer a view, one more training", "self_labelled(…), omni_supervised(…)"),
)  # fmt: skip


def method_table(verdicts: Mapping[str, Iterable[Verdict]]) -> pd.DataFrame:
    """Every method: what it is, who teaches whom, what it costs, and the recorded verdicts."""
    rows = []
    for method in METHODS:
        judged = [verdict.word for verdict in verdicts.get(method.key, ())]
        words = [f"{judged.count(word)} {word}" for word in dict.fromkeys(judged)]
        rows.append({
            "method": method.title, "paper; survey section": method.paper,
            "who teaches whom": method.teaches, "what it costs": method.costs,
            "call": method.call, "claims": "; ".join(words) or NOT_JUDGED,
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("method")


CHOICE = {
    "DAFL": (
        "the teacher's gradient, and one inner layer",
        "any number of images, made as they are needed",
        "few classes; the teacher can be differentiated, and nothing was kept of its data",
    ),
    "ZSKD": (
        "the gradient, and the last layer's weights", "a bank of images that any student can use",
        "the teacher has no batch normalisation; a bank should outlive the run",
    ),
    "ZSKT": (
        "the gradient at its logits", "images that never bore the student",
        "the student should follow the teacher's beliefs, also where it is unsure",
    ),
    "DFAD": (
        "the gradient at its logits", "as ZSKT, with a loss that is never flat",
        "the student has come close, and a divergence gives no gradient any more",
    ),
    "DeepInversion": (
        "the gradient, running statistics of batch normalisation", "images that look like the data",
        "large networks with batch normalisation; somebody wants to look at the images",
    ),
    "activation records": (
        "statistics that were stored while the data were there", "class by class, what a layer did",
        "you train the teacher yourself and know that the data must go",
    ),
    "CMI": (
        "as DeepInversion, and a memory", "images unlike each other, over the whole bank",
        "a bank repeats itself",
    ),
    "Fast": (
        "as DeepInversion", "a batch in a few steps instead of hundreds", "time is what you lack",
    ),
    "pseudo-examples": (
        "a few real images; the gradient", "images between and around the real ones",
        "a hundred images are all there is",
    ),
    "dataset distillation": (
        "all of the data, once; the student's architecture", "training in a handful of steps",
        "the same training is repeated many times, as in a search for architectures",
    ),
    "data distillation": (
        "unlabelled real images; the logits alone", "labels for nothing",
        "images abound, labels do not",
    ),
    "noise (the control)": (
        "the logits alone", "a lower bound", "always, beside the others",
    ),
}  # fmt: skip


def choice() -> pd.DataFrame:
    """What you need, what it buys, when to choose it."""
    columns = ["what you need", "what it buys", "when to choose it"]
    return pd.DataFrame.from_dict(CHOICE, orient="index", columns=columns).rename_axis("method")


def recorded_collapse(table: pd.DataFrame, arms: Iterable[str]) -> pd.DataFrame:
    """The detector's values in a record, means over seeds with standard deviations.

    `warnings` counts, for each seed, the epochs in which one of the limits was crossed.
    """
    rows = {}
    for arm in arms:
        found = table[arm]
        row = {
            name.replace("_", " "): f"{found[name].mean():.2f} ± {found[name].std():.2f}"
            for name in ("class_balance", "diversity", "confidence")
        }
        row["warnings"] = f"{found['collapse_warnings'].mean():.1f}"
        row["student, % right"] = f"{found['accuracy'].mean():.1f}"
        rows[arm] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")
