"""Figures of chapter 3-1: who teaches when, and what each offline scheme looks like on images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor, nn

from kdnb import figures
from kdnb.data import Batches, ImageData, Images
from kdnb.methods.offline.funmatch import MixedBatches, another_view
from kdnb.papers.statistics import interval
from kdnb.workbook.chapters import cho2019efficacy_live as live
from kdnb.workbook.chapters.cho2019efficacy_live import Followed

TEACHER, STUDENT, LABELS = figures.BLUE, figures.ORANGE, figures.GREEN

# start and length of each bar: the teacher learns, the student imitates, the student reads labels
TIMETABLE = {
    "two steps": ([(0, 4)], [(4.4, 4)], []),
    "several stages": ([(0, 4)], [(4.4, 1.3), (5.8, 2.6)], []),
    "early-stopped teacher": ([(0, 1.5)], [(1.9, 4)], []),
    "early-stopped distillation": ([(0, 4)], [(4.4, 2)], [(6.4, 2)]),
    "route-constrained": ([(0, 1), (1, 1), (2, 1), (3, 1)],
                          [(4.4, 1), (5.4, 1), (6.4, 1), (7.4, 1)], []),
    "few samples": ([(0, 4)], [(4.4, 0.12)], []),
    "function matching": ([(0, 4)], [(4.4, 7)], []),
}  # fmt: skip


def timetable() -> Figure:
    """Every offline scheme as a line of time: first the teacher's bar, then the student's."""
    figure, axes = plt.subplots(figsize=(8.4, 3.7))
    looks = list(zip((TEACHER, STUDENT, LABELS), (None, None, "//"), strict=True))
    height, places = 0.0, []
    for bars in reversed(TIMETABLE.values()):
        places.append(height)
        for spans, (colour, hatch) in zip(bars, looks, strict=True):
            axes.broken_barh(
                spans, (height - 0.3, 0.6), facecolors=colour, hatch=hatch, alpha=0.75,
                edgecolor="white", lw=1.5,
            )  # fmt: skip
        if len(bars[0]) > 1:  # each checkpoint of the route teaches its own part
            for (start, length), (to, _) in zip(*bars[:2], strict=True):
                style = {"arrowstyle": "-|>", "color": figures.GREY, "lw": 1,
                         "connectionstyle": "arc3,rad=-0.17"}  # fmt: skip
                axes.annotate(
                    "", (to + 0.5, height + 0.3), (start + length, height + 0.3), arrowprops=style
                )
            height += 0.75
        height += 1
    axes.set_yticks(places, list(TIMETABLE)[::-1])
    axes.set(xlabel="time (not to scale)", xticks=[], xlim=(-0.1, 11.6), ylim=(-0.6, height - 0.4))
    axes.grid(False)
    words = ("the teacher learns from labels", "the student imitates", "the student reads labels")
    handles = [
        Patch(fc=colour, alpha=0.75, hatch=hatch, ec="white", label=word)
        for word, (colour, hatch) in zip(words, looks, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def picture(axes: plt.Axes, image: Tensor, source: ImageData, title: str = "") -> None:
    """A normalised picture (C, H, W), undone; grey ones dark on light."""
    mean, sd = (torch.tensor(v).view(-1, 1, 1) for v in (source.mean, source.sd))
    shown = (image.cpu() * sd + mean).clamp(0, 1).permute(1, 2, 0).squeeze().numpy()
    axes.imshow(shown, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=8)
    axes.axis("off")


def said(shares: Tensor, classes: Sequence[str]) -> str:
    """`Coat 87%`: the likeliest class."""
    return f"{classes[int(shares.argmax())]} {100 * float(shares.max()):.0f}%"


# --- when answers may be stored ------------------------------------------------------------------


def stored_answers(network: nn.Module, images: Images, source: ImageData) -> Figure:
    """The images whose stored answer is furthest from the one for the view the student sees."""
    views, wrong = live.stored_and_true(network, images, source)
    plain = next(live.plain(images, source).epoch(0)).images
    with torch.no_grad():
        before, after = (network(part).softmax(1) for part in (plain, views))
    figure = plt.figure(figsize=(8.8, 2.9))
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    grid = left.subplots(2, 4)
    for column, place in zip(grid.T, wrong.topk(4).indices.tolist(), strict=True):
        picture(column[0], plain[place], source, said(before[place], source.classes))
        picture(column[1], views[place], source, said(after[place], source.classes))
    for axes, word in zip(grid[:, 0], ("stored for", "seen by\nthe student"), strict=True):
        axes.text(-0.15, 0.5, word, ha="right", va="center", fontsize=9, transform=axes.transAxes)
    axes = right.subplots()
    axes.hist(wrong.numpy(), np.linspace(0, 1, 26), color=figures.BLUE)
    axes.set(xlabel="distance of stored and true answer", ylabel="images", yscale="log")
    return figure


# --- the route -----------------------------------------------------------------------------------


def route(found: Followed) -> Figure:
    """How far each checkpoint is from the student, and the errors on the way."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.2))
    epochs = np.arange(1, found.hardness.shape[1] + 1)
    colours = plt.get_cmap("cividis")(np.linspace(0, 0.9, len(found.hardness)))
    names = ["untaught", *(f"after anchor {number}" for number in found.anchors)]
    for row, colour, name in zip(found.hardness.tolist(), colours, names, strict=True):
        left.plot(epochs, row, color=colour, label=name)
    left.set(xlabel="checkpoint: epoch of the teacher", ylabel="KL(checkpoint ‖ student), nats",
             yscale="log")  # fmt: skip
    left.legend(fontsize=8)
    right.plot(epochs, found.teacher, color=TEACHER, label="the teacher's checkpoints")
    right.plot(found.anchors, found.student, "o-", color=STUDENT, label="student on the route")
    right.plot(found.anchors, found.constant, "s--", color=figures.GREY,
               label="student of the last alone")  # fmt: skip
    right.set(xlabel="epochs", ylabel=f"errors of {live.EVALUATED}")
    right.legend(fontsize=8)
    return figure


# --- boundary samples ----------------------------------------------------------------------------


def boundary(
    network: nn.Module, images: Tensor, targets: Tensor, source: ImageData, steps: Sequence[int],
    size: float = 0.3,
) -> Figure:  # fmt: skip
    """Images on their way across the teacher's border, one a row; at the end what has changed."""
    found = live.walks(network, images, targets, steps, size)
    bases = found[0][1].argmax(1).tolist()
    rows, columns = len(images), len(steps) + 1
    figure, grid = plt.subplots(
        rows, columns, figsize=(1.45 * columns, 1.8 * rows + 0.4), squeeze=False
    )
    for line in range(rows):
        pair = (bases[line], int(targets[line]))
        for axes, (walked, shares) in zip(grid[line], found, strict=False):
            named = dict.fromkeys((*pair, int(shares[line].argmax())))  # a third one may step in
            words = [f"{source.classes[k]} {100 * float(shares[line, k]):.0f}%" for k in named]
            picture(axes, walked[line], source, "\n".join(words))
        change = (found[-1][0][line] - images[line]).mean(0).numpy()
        limit = max(float(np.abs(change).max()), 1e-6)
        grid[line, -1].imshow(change, cmap="PuOr", vmin=-limit, vmax=limit)
        grid[line, -1].axis("off")
    for axes, word in zip(grid[-1], [*(f"{n} steps" for n in steps), "change"], strict=True):
        axes.text(0.5, -0.06, word, ha="center", va="top", fontsize=9, transform=axes.transAxes)
    return figure


def gaps(network: nn.Module, images: Tensor, targets: Tensor, steps: Sequence[int]) -> Figure:
    """The distance of the two scores at each number of steps, for many images."""
    found = live.walks(network, images, targets, steps)
    base = found[0][1].argmax(1)
    rows = []
    for walked, _ in found:
        with torch.no_grad():
            logits = network(walked)
        rows.append((logits.gather(1, base[:, None]) - logits.gather(1, targets[:, None]))[:, 0])
    values = torch.stack(rows).numpy()
    figure, axes = plt.subplots(figsize=(5.6, 2.9))
    axes.plot(steps, values, color=figures.LIGHT, lw=0.8)
    axes.plot(steps, np.median(values, 1), "o-", color=figures.BLUE, label="median")
    axes.axhline(0, color=figures.RED, ls="--", label="the border")
    axes.set(xlabel="steps", ylabel="gap of the teacher's two logits")
    axes.legend()
    return figure


def explorer(network: nn.Module, images: Tensor, source: ImageData) -> ipywidgets.Widget:
    """Choose an image, the class to walk to and the size of a step; see where it crosses."""
    chosen = ipywidgets.IntSlider(0, 0, len(images) - 1, description="image",
                                  continuous_update=False)  # fmt: skip
    names = [(name, number) for number, name in enumerate(source.classes)]
    second = int(network(images[:1]).topk(2).indices[0, 1])
    target = ipywidgets.Dropdown(options=names, value=second, description="towards")
    size = ipywidgets.FloatSlider(0.3, min=0.05, max=1.0, step=0.05, description="step",
                                  continuous_update=False)  # fmt: skip
    shown = ipywidgets.Image(format="png")

    def draw(_: object = None) -> None:
        one, buffer = images[chosen.value][None], io.BytesIO()
        towards = torch.tensor([target.value])
        figure = boundary(network, one, towards, source, (0, 1, 2, 5, 10), size.value)
        figure.savefig(buffer, format="png")
        plt.close(figure)
        shown.value = buffer.getvalue()

    for control in (chosen, target, size):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([chosen, target, size]), shown])


# --- few samples and function matching -----------------------------------------------------------


def lines(errors: pd.DataFrame, level: float | None = None, words: str = "") -> Figure:
    """Errors (index: what grows, on a logarithmic axis; columns: arms), with a level to beat."""
    figure, axes = plt.subplots(figsize=(6.2, 3.3))
    colours = (figures.BLUE, figures.SKY, figures.ORANGE, figures.GREEN, figures.PURPLE)
    for name, colour, marker, line in zip(
        errors.columns, colours, "oDsv^", ("-", "-", "--", "-.", ":"), strict=False
    ):
        axes.plot(errors.index, errors[name], color=colour, marker=marker, ls=line, label=name)
    if level is not None:
        axes.axhline(level, color=figures.GREY, lw=1.2, ls=":", label=words)
    axes.set(xlabel=errors.index.name, ylabel=f"errors of {live.EVALUATED}", xscale="log")
    axes.set_xticks(errors.index, [f"{value:g}" for value in errors.index])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    return figure


def kinds_of_views(images: Images, source: ImageData) -> Figure:
    """What student and teacher see of one image in one step, for the four kinds of views."""
    scale = {"mean": source.mean, "sd": source.sd}
    batches = Batches(images, len(images), crop_padding=4, flip=True, **scale)
    batch, mixed = (next(iter(b.epoch(0))) for b in (batches, MixedBatches(batches)))
    place = int((batch.index == 0).nonzero())
    own, plain = batch.images[place], next(live.plain(images, source).epoch(0)).images[0]
    other = another_view(batches, torch.tensor([0]), 0)[0]
    pairs = {"fixed": (own, plain), "independent": (own, other), "consistent": (own, own),
             "mixed": (mixed.images[place],) * 2}  # fmt: skip
    figure, grid = plt.subplots(2, len(pairs), figsize=(6.2, 3.3))
    for column, (name, pair) in zip(grid.T, pairs.items(), strict=True):
        for axes, seen in zip(column, pair, strict=True):
            picture(axes, seen, source)
        column[0].set_title(name)
    for axes, word in zip(grid[:, 0], ("student", "teacher"), strict=True):
        axes.text(-0.12, 0.5, word, ha="right", va="center", transform=axes.transAxes)
    return figure


# --- the record ----------------------------------------------------------------------------------

PAIRS = {"4 layers": ("teacher4", "taught_by_4"),
         "10 layers, stopped early": ("early_teacher", "taught_by_early_teacher"),
         "10 layers": ("teacher10", "taught_by_10")}  # fmt: skip


def arm_rows(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Mean and interval of the test error of the record's arms, as `figures.forest` takes them.

    Args:
        names: arm -> the words of its row.
    """
    rows = {}
    for arm, words in names.items():
        if (arm, "test_error") in table:
            values = table[arm, "test_error"].dropna().to_numpy()
            low, high = interval(values)
            rows[words] = {"mean": values.mean(), "low": low, "high": high, "published": np.nan}
    return pd.DataFrame.from_dict(rows, orient="index")


def teachers(table: pd.DataFrame) -> Figure:
    """Is the student of a better teacher better? Errors of teachers against their students'."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    for (name, pair), colour, marker in zip(
        PAIRS.items(), (figures.SKY, figures.ORANGE, figures.BLUE), "osD", strict=True
    ):
        rows = arm_rows(table, {arm: arm for arm in pair})
        if len(rows) < 2:
            continue
        (x, y), spread = rows["mean"], np.abs(rows[["low", "high"]].T - rows["mean"]).to_numpy()
        axes.errorbar(x, y, xerr=spread[:, :1], yerr=spread[:, 1:], fmt=marker, color=colour,
                      capsize=3, label=name)  # fmt: skip
    alone = table["student", "test_error"].mean()
    axes.axhline(alone, color=figures.GREY, ls=":", label="student, nobody teaches it")
    axes.set(xlabel="the teacher's test error, %", ylabel="its student's test error, %")
    figure.legend(loc="outside lower center", ncols=2, title="teacher")
    return figure
