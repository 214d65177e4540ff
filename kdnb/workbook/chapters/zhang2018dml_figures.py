"""Figures of chapter 3-2: who teaches whom, certainty, flatness, cohorts and ensembles."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor
from torch.nn import functional as F

from kdnb import figures
from kdnb.data import Images
from kdnb.methods import online
from kdnb.papers.statistics import interval

STUDENT, TEACHER, SHARED = figures.ORANGE, figures.BLUE, figures.LIGHT


# --- who teaches whom -----------------------------------------------------------------------------

# A panel: nodes (x, y, text, colour), arrows of images or maps, arrows of teaching.
PANELS: dict[str, tuple[list, list, list]] = {
    "DML: every peer every other": (
        [(0.5, 0.9, "1", STUDENT), (0.1, 0.2, "2", STUDENT), (0.9, 0.2, "3", STUDENT)],
        [], [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)],
    ),
    "codistillation: stale copies": (
        [(0.1, 0.85, "1", STUDENT), (0.9, 0.85, "2", STUDENT),
         (0.1, 0.2, "1\nold", TEACHER), (0.9, 0.2, "2\nold", TEACHER)],
        [(0, 2), (1, 3)], [(2, 1), (3, 0)],
    ),
    "KDCL: one target of all": (
        [(0.1, 0.2, "1", STUDENT), (0.5, 0.2, "2", STUDENT), (0.9, 0.2, "3", STUDENT),
         (0.5, 0.9, "target", TEACHER)],
        [(0, 3), (1, 3), (2, 3)], [(3, 0), (3, 1), (3, 2)],
    ),
    "ONE: heads, gated": (
        [(0.02, 0.5, "stem", SHARED), (0.46, 0.9, "1", STUDENT), (0.46, 0.5, "2", STUDENT),
         (0.46, 0.1, "3", STUDENT), (1.0, 0.5, "gated\nsum", TEACHER)],
        [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)], [(4, 1), (4, 2), (4, 3)],
    ),
    "OKDDip: peers, then a leader": (
        [(0.08, 0.9, "1", STUDENT), (0.08, 0.15, "2", STUDENT), (0.5, 0.52, "3", STUDENT),
         (1.0, 0.52, "leader", STUDENT)],
        [], [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (1, 3), (2, 3)],
    ),
    "FFL: fused maps": (
        [(0.1, 0.2, "1", STUDENT), (0.9, 0.2, "2", STUDENT), (0.5, 0.9, "fused", TEACHER)],
        [(0, 2), (1, 2)], [(2, 0), (2, 1)],
    ),
    "Rocket: a booster for the light": (
        [(0.05, 0.5, "stem", SHARED), (0.6, 0.85, "light", STUDENT),
         (0.6, 0.15, "boost", TEACHER)],
        [(0, 1), (0, 2)], [(2, 1)],
    ),
    "one's own past": (
        [(0.15, 0.5, "now", STUDENT), (0.85, 0.5, "past", TEACHER)], [(0, 1)], [(1, 0)],
    ),
}  # fmt: skip


def schematic() -> Figure:
    """Eight schemes: dashed arrows hand on maps, answers or weights, green ones teach."""
    figure, grid = plt.subplots(2, 4, figsize=(9.6, 5.0))
    for axes, (title, (nodes, carries, teaches)) in zip(grid.flat, PANELS.items(), strict=True):
        for arrows, colour, style in (
            (carries, figures.GREY, (0, (3, 2))),
            (teaches, figures.GREEN, "-"),
        ):
            for start, end in arrows:
                both = (end, start) in carries + teaches
                look = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "ls": style,
                        "shrinkA": 19, "shrinkB": 19, "mutation_scale": 13,
                        "connectionstyle": f"arc3,rad={0.16 if both else 0}"}  # fmt: skip
                axes.annotate("", nodes[end][:2], nodes[start][:2], arrowprops=look)
        for x, y, text, colour in nodes:
            axes.scatter(x, y, s=1150, color=colour, alpha=0.35, ec=figures.GREY, zorder=3)
            axes.text(x, y, text, ha="center", va="center", fontsize=8.5, zorder=4)
        axes.set_title(title, fontsize=9.5)
        axes.set(xlim=(-0.22, 1.22), ylim=(-0.18, 1.22))
        axes.axis("off")
    handles = [
        Line2D([], [], color=figures.GREEN, lw=1.6, label="teaches"),
        Line2D([], [], color=figures.GREY, lw=1.6, ls=(0, (3, 2)),
               label="hands on maps, answers or weights"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


# --- certainty and flatness -----------------------------------------------------------------------


def entropies(logits: Mapping[str, Tensor], classes: int) -> Figure:
    """How uncertain each answer is: histograms of the entropy of every image's answer."""
    figure, axes = plt.subplots(figsize=(6.6, 2.9))
    bins = np.linspace(0, np.log(classes), 31)
    for (name, answers), (colour, line) in zip(logits.items(), _looks(), strict=False):
        log_p = F.log_softmax(answers.float(), 1)
        each = -(log_p.exp() * log_p).sum(1).numpy()
        axes.hist(each, bins, histtype="step", color=colour, ls=line, lw=1.8, density=True,
                  label=f"{name}, mean {each.mean():.2f}")  # fmt: skip
    axes.axvline(np.log(classes), color=figures.GREY, lw=1, ls=":")
    axes.set(xlabel=f"entropy of an answer, nats (dotted: chance, ln {classes})", ylabel="density")
    axes.legend(loc="upper left", fontsize=9)
    return figure


def _looks() -> list[tuple[str, str]]:
    return [(figures.ORANGE, "--"), (figures.BLUE, "-"), (figures.GREEN, "-."), (figures.GREY, ":")]


def noise_curves(sds: Sequence[float], rises: Mapping[str, Sequence[float]]) -> Figure:
    """The rise of the training loss over the sd of the noise on all weights."""
    figure, axes = plt.subplots(figsize=(5.6, 2.9))
    for (name, values), (colour, line), marker in zip(
        rises.items(), _looks(), "so^v", strict=False
    ):
        axes.plot(sds, values, color=colour, ls=line, marker=marker, label=name)
    axes.set(xlabel="sd of the noise on every weight", ylabel="rise of the loss, nats")
    axes.legend()
    return figure


# --- cohorts and ensembles, recorded --------------------------------------------------------------

COHORTS = {1: "independent", 2: "mutual", 3: "three_peers", 5: "five_peers"}
NAMES = {"independent": "2 independent", "mutual": "2 mutual", "three_peers": "3 mutual",
         "five_peers": "5 mutual", "ensemble_target": "3, mean logits",
         "unequal_independent": "unequal, independent",
         "unequal_mutual": "unequal, mutual"}  # fmt: skip


def cohorts(table: pd.DataFrame) -> Figure:
    """Left: errors of one network over the number of peers. Right: networks and their ensembles."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.3), width_ratios=[1, 1.45])
    points = {count: _summary(table, arm, "test_errors") for count, arm in COHORTS.items()}
    _bars(left, list(points), list(points.values()), figures.BLUE, "o", "one network")
    left.plot(points.keys(), [p[0] for p in points.values()], color=figures.BLUE, lw=1)
    left.set_xticks(list(points), ["1\n(alone)", "2", "3", "5"])
    left.set(xlabel="networks that learn together", ylabel="test errors of 10,000")
    arms = [arm for arm in NAMES if arm in table.columns.get_level_values("arm")]
    places = np.arange(len(arms))[::-1]
    for shift, metric, colour, marker, label in (
        (0.13, "test_errors", figures.BLUE, "o", "one network (mean of the cohort)"),
        (-0.13, "ensemble_errors", figures.ORANGE, "s", "ensemble of the cohort"),
    ):
        found = [_summary(table, arm, metric) for arm in arms]
        _bars(right, places + shift, found, colour, marker, label, across=True)
    right.set_yticks(places, [NAMES[arm] for arm in arms])
    right.set(xlabel="test errors of 10,000", ylim=(-0.6, len(arms) - 0.4))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _summary(table: pd.DataFrame, arm: str, metric: str) -> tuple[float, float, float]:
    """Mean over seeds and its 95% interval."""
    values = table[(arm, metric)].dropna().to_numpy()
    return (float(values.mean()), *interval(values))


def _bars(axes, places, found, colour, marker, label, across=False) -> None:
    mean, low, high = np.array(found).T
    spread = {"xerr" if across else "yerr": [mean - low, high - mean]}
    x, y = (mean, places) if across else (places, mean)
    axes.errorbar(x, y, fmt=marker, color=colour, capsize=3, label=label, **spread)


# --- the relatives --------------------------------------------------------------------------------


def targets(
    image: Tensor, logits: Tensor, label: int, weights: Tensor, classes: Sequence[str]
) -> Figure:
    """An image, the answers of two students, and the four targets KDCL makes of them.

    Args:
        logits: (2, classes).
        weights: (2,), of the general target.
    """
    stacked, labels = logits[:, None], torch.tensor([label])
    shown = {
        "student 1": logits[0], "student 2": logits[1],
        "naive": online.naive_target(stacked, labels)[0],
        "linear": online.linear_target(stacked, labels)[0],
        "min-logit": online.min_logit_target(stacked, labels)[0],
        "general": (weights[:, None] * logits).sum(0),
    }  # fmt: skip
    return answers(image, shown, label, classes)


def listening(gates: Tensor, attention: Tensor, classes: Sequence[str]) -> Figure:
    """Left: the gate's mean weights by class (classes, branches). Right: who listens to whom."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), width_ratios=[1.2, 1])
    for axes, values, title in (
        (left, gates.T, "ONE: weight of each branch"),
        (right, attention, "OKDDip: whom a peer listens to"),
    ):
        picture = axes.imshow(values.cpu().numpy(), cmap="cividis", aspect="auto")
        axes.set_yticks(range(len(values)), [str(i + 1) for i in range(len(values))])
        axes.grid(False)
        axes.set_title(title)
        figure.colorbar(picture, ax=axes)
    left.set_xticks(range(len(classes)), classes, rotation=60, ha="right", rotation_mode="anchor")
    left.set(ylabel="branch")
    right.set_xticks(range(attention.shape[1]), [str(i + 1) for i in range(attention.shape[1])])
    right.set(xlabel="peer heard", ylabel="peer that listens")
    return figure


def moved(pictures: Images, shown: Tensor, before: Tensor, after: Tensor) -> Figure:
    """Images before and after the generator, and how far the classifiers disagree on each.

    Args:
        shown: the moved images, on the scale from 0 to 1.
        before, after: the divergence of the two classifiers' answers, one value an image.
    """
    count = len(shown)
    figure = plt.figure(figsize=(9.2, 3.4))
    left, right = figure.subfigures(1, 2, width_ratios=[1.35, 1])
    grid = left.subplots(3, count)
    start = pictures.images[:count].cpu().float() / 255
    rows = (start, shown, 0.5 + 5 * (shown - start))
    for line, values, name in zip(grid, rows, ("image", "moved", "change x 5"), strict=True):
        for axes, picture in zip(line, values, strict=True):
            axes.imshow(picture.clamp(0, 1).permute(1, 2, 0), interpolation="nearest")
            axes.axis("off")
        place = {"transform": line[0].transAxes, "rotation": 90, "va": "center", "ha": "right"}
        line[0].text(-0.12, 0.5, name, fontsize=9, **place)
    axes = right.subplots()
    change = 100 * (after / before.clamp_min(1e-6) - 1)
    axes.hist(change.clamp(-60, 120).numpy(), np.linspace(-60, 120, 37), color=figures.BLUE)
    axes.axvline(0, color=figures.GREY, lw=1.2)
    axes.set(xlabel="change of the disagreement, %", ylabel="test images")
    return figure


def over_epochs(frame: pd.DataFrame, unit: str) -> Figure:
    """One line a column over the epochs."""
    figure, axes = plt.subplots(figsize=(6.2, 2.8))
    for name, (colour, line), marker in zip(frame, _looks(), "so^v", strict=False):
        axes.plot(frame.index, frame[name], color=colour, ls=line, marker=marker, label=name)
    axes.set(xlabel="epoch", ylabel=unit, xticks=frame.index)
    axes.legend()
    return figure


# --- try it ---------------------------------------------------------------------------------------


def answers(
    image: Tensor, logits: Mapping[str, Tensor], label: int, classes: Sequence[str]
) -> Figure:
    """One image and what several networks say of it: (classes,) logits each."""
    count = len(logits)
    size = (min(1.2 + 2.0 * count, 9.6), 2.6)
    figure, grid = plt.subplots(1, count + 1, figsize=size, width_ratios=[1] + [1.2] * count)
    figures.image(grid[0], image)
    grid[0].set_title(classes[label])
    top = min(1.0, 1.15 * max(float(values.softmax(0).max()) for values in logits.values()))
    for axes, (name, values) in zip(grid[1:], logits.items(), strict=True):
        shares = values.softmax(0).numpy()
        colours = [figures.BLUE if i == label else figures.ORANGE for i in range(len(classes))]
        axes.barh(range(len(classes)), shares, color=colours, height=0.75)
        axes.set(title=name, xlim=(0, top), ylim=(len(classes) - 0.4, -0.6))
        axes.set_yticks(range(len(classes)), classes if axes is grid[1] else [""] * len(classes))
        axes.tick_params(labelsize=8)
        axes.grid(False, axis="y")
    figure.supxlabel("probability (blue: the true class)", fontsize=9)
    return figure


def explorer(
    images: Images, logits: Mapping[str, Tensor], classes: Sequence[str]
) -> ipywidgets.Widget:
    """Choose an image; see what each network says of it. `logits`: (images, classes) each."""
    place = ipywidgets.IntSlider(
        value=0, min=0, max=len(images) - 1, description="image", continuous_update=False
    )
    picture = ipywidgets.Image(format="png")

    def draw(_: object = None) -> None:
        i = place.value
        chosen = {name: values[i] for name, values in logits.items()}
        figure, buffer = (
            answers(images.images[i], chosen, int(images.labels[i]), classes),
            io.BytesIO(),
        )
        figure.savefig(buffer, format="png")
        plt.close(figure)
        picture.value = buffer.getvalue()

    place.observe(draw, "value")
    draw()
    return ipywidgets.VBox([place, picture])
