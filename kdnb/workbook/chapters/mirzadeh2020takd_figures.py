"""Figures and tables of chapter 4: the capacity gap, chains, joined and grown networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from kdnb import figures, papers
from kdnb.papers.statistics import MIN_SEEDS, interval

DIRECT = "taught_by_10"
WAYS = {
    "student": "alone", "taught_by_4": "4 → 2", "taught_by_6": "6 → 2", "taught_by_8": "8 → 2",
    "via_8": "10 → 8 → 2", "via_6": "10 → 6 → 2",
    "via_4": "10 → 4 → 2", "full_path": "10 → 8 → 6 → 4 → 2",
}  # fmt: skip


def schematic() -> Figure:
    """A large step from teacher to student, and two smaller ones by way of an assistant."""
    figure, axes = plt.subplots(figsize=(8.2, 3.0))
    axes.set(xlim=(0, 12), ylim=(0, 4.4))
    axes.axis("off")
    arrow = {"arrowstyle": "-|>", "lw": 1.8}
    for x, height, text, colour in (
        (0.3, 3.4, "teacher\n10 layers", figures.BLUE),
        (5.0, 2.1, "assistant\n4 layers", figures.GREEN),
        (9.9, 1.1, "student\n2 layers", figures.ORANGE),
    ):
        patch = FancyBboxPatch(
            (x, 0.5), 1.8, height, boxstyle="round,pad=0.06", fc=colour, ec=figures.GREY, alpha=0.3
        )
        axes.add_patch(patch)
        axes.text(x + 0.9, 0.5 + height / 2, text, ha="center", va="center", fontsize=10)
    for start, end, text, at in (
        ((2.25, 1.6), (4.85, 1.6), "soft targets", (3.55, 1.75)),
        ((6.95, 1.2), (9.75, 1.2), "soft targets", (8.35, 1.35)),
    ):
        axes.annotate("", end, start, arrowprops={**arrow, "color": figures.GREEN})
        axes.text(*at, text, ha="center", fontsize=9, color=figures.GREY)
    axes.annotate(
        "", (10.8, 1.75), (2.25, 3.6),
        arrowprops={**arrow, "color": figures.RED, "ls": "--", "connectionstyle": "arc3,rad=-0.22"},
    )  # fmt: skip
    axes.text(7.6, 3.95, "directly: a large gap", ha="center", fontsize=9, color=figures.GREY)
    axes.text(6, 0.02, "height: capacity", ha="center", fontsize=9, color=figures.GREY)
    return figure


def gap(teachers: pd.DataFrame, students: pd.DataFrame, alone: pd.Series, label: str) -> Figure:
    """Errors of teachers of rising size, and of the one student that each of them teaches.

    Means over seeds, with 95% intervals, or with the seeds themselves where they are few.

    Args:
        teachers, students: one row a size of the teacher, one column a seed, percent.
        alone: the student without a teacher, one value a seed.
        label: of the sizes.
    """
    figure, grid = plt.subplots(1, 2, figsize=(8.4, 3.1))
    places = np.arange(len(teachers))
    for axes, frame, title, colour in (
        (grid[0], teachers, "the teacher itself", figures.BLUE),
        (grid[1], students, "its student", figures.ORANGE),
    ):
        axes.plot(places, frame.mean(axis=1), "o-", color=colour)
        if frame.shape[1] < MIN_SEEDS:
            axes.plot(places, frame, ".", color=figures.GREY, ms=4)
        else:
            bounds = np.array([interval(row) for row in frame.to_numpy()])
            axes.vlines(places, *bounds.T, color=colour)
        axes.set_xticks(places, frame.index)
        axes.set(title=title, xlabel=label, ylabel="test error, %")
    grid[1].margins(y=0.15)
    grid[1].axhline(alone.mean(), color=figures.GREY, ls="--", lw=1.2, label="student alone")
    grid[1].legend()
    return figure


def recorded_gap(table: pd.DataFrame) -> Figure:
    """`gap` of the recorded arms."""
    found = table.xs("test_error", axis=1, level="metric")
    sizes = [4, 6, 8, 10]

    def rows(start: str) -> pd.DataFrame:
        return pd.DataFrame({size: found[f"{start}{size}"] for size in sizes}).T

    return gap(rows("teacher"), rows("taught_by_"), found["student"], "layers of the teacher")


def ways(table: pd.DataFrame) -> pd.DataFrame:
    """What every way to the two-layer student saves against the direct one, for `figures.forest`.

    Mean differences of test errors in points, paired by seed, with 95% intervals; above 0 the way
    is better than 10 → 2. Published are the paper's plain networks on CIFAR-10, where known.
    """
    claims = papers.claims_of("mirzadeh2020takd")
    published = {name: error for claim in claims for name, error in claim.published.items()}
    error = table.xs("test_error", axis=1, level="metric")
    rows = {}
    for arm, name in WAYS.items():
        saved = (error[DIRECT] - error[arm]).dropna().to_numpy()
        low, high = interval(saved)
        known = published[DIRECT] - published.get(arm, np.nan)
        rows[name] = {"mean": saved.mean(), "low": low, "high": high, "published": known}
    return pd.DataFrame.from_dict(rows, orient="index")


def side_by_side() -> pd.DataFrame:
    """What the two papers say to the same question, and how the record of each judges it."""
    words = {
        key: {verdict.claim.id: verdict.word for verdict in papers.verdicts(key, "laptop")}
        for key in ("mirzadeh2020takd", "cho2019efficacy")
    }
    takd, cho = words["mirzadeh2020takd"], words["cho2019efficacy"]
    both = "Mirzadeh and others 2020", "Cho and Hariharan 2019"
    columns = pd.MultiIndex.from_product([both, ("says", "here")])
    rows = {
        "Is the largest teacher the best?": (
            "no: rise, then fall", takd["inverted-u"], "no", cho["larger-no-better"]),
        "Does a chain of assistants help?": (
            "yes, of any size", takd["any-assistant"], "no", cho["sequence-no-help"]),
        "Is the longest chain the best?": (
            "yes", takd["full-path"], "no", cho["sequence-no-help"]),
        "What else closes the gap?": (
            "", "", "stop the teacher early", cho["early-stopped-teacher"]),
    }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def widening() -> Figure:
    """A unit is copied, and what goes out of it is shared between the copies; an identity layer."""
    figure, grid = plt.subplots(1, 3, figsize=(8.8, 2.9))
    layers = {
        "before": [2, 2, 1], "wider": [2, 3, 1], "deeper": [2, 2, 2, 1],
    }  # fmt: skip
    for axes, (title, sizes) in zip(grid, layers.items(), strict=True):
        axes.set(title=title, xlim=(-0.5, 3.5), ylim=(-1.6, 1.6))
        axes.axis("off")
        step = 3 / (len(sizes) - 1)
        at = [[(step * i, (n - 1) / 2 - k) for k in range(n)] for i, n in enumerate(sizes)]
        for i in range(len(sizes) - 1):
            for a, start in enumerate(at[i]):
                for b, end in enumerate(at[i + 1]):
                    _edge(axes, title, i, a, b, start, end)
        for i, layer in enumerate(at):
            for k, point in enumerate(layer):
                new = (title == "wider" and i == 1 and k == 2) or (title == "deeper" and i == 2)
                colour = figures.ORANGE if new else figures.BLUE
                axes.plot(*point, "o", ms=15, color=colour, mec="white")
    grid[1].text(1.5, -1.55, "the new unit is a copy of the second", ha="center", fontsize=9)
    grid[2].text(1.5, -1.55, "the new layer is the identity", ha="center", fontsize=9)
    return figure


def _edge(axes, title, layer, a, b, start, end) -> None:
    """One weight of `widening`, with its name where it has changed."""
    if title == "deeper" and layer == 1 and a != b:
        return  # a weight of 0
    axes.plot(*zip(start, end, strict=True), color=figures.LIGHT, lw=1.6, zorder=0)
    name = ""
    if layer == 1 and title != "deeper":
        name = ("$v_1$", "$v_2$" if title == "before" else "$v_2/2$", "$v_2/2$")[a]
    elif layer == 1 and title == "deeper":
        name = "1"
    if name:
        x, y = np.average([start, end], axis=0, weights=[0.55, 0.45])
        axes.text(x, y + 0.08, name, ha="center", va="bottom", fontsize=10)


def courses(lines: Mapping[str, Sequence[float]]) -> Figure:
    """Accuracies epoch by epoch, from before the first one."""
    figure, axes = plt.subplots(figsize=(5.6, 3.1))
    for (name, values), mark in zip(lines.items(), ("o-", "s--", "^:"), strict=False):
        axes.plot(range(len(values)), values, mark, label=name)
    axes.set(xlabel="epochs", ylabel="test accuracy, %")
    axes.set_xticks(range(len(values)))
    axes.legend()
    return figure


def residual(history: list[dict[str, float]], pictures: Tensor, maps: Sequence[Tensor]) -> Figure:
    """How far student, and student with assistant, are from the teacher's maps; and some maps.

    Args:
        history: of `distil_residual`.
        pictures: (images, channels, height, width) uint8.
        maps: of `residual_maps`: teacher, student, assistant, and the sum of these two.
    """
    rows = len(pictures)
    figure = plt.figure(figsize=(8.8, 1.15 * rows + 0.7))
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.55])
    axes = left.subplots()
    epochs = range(1, len(history) + 1)
    for key, name, mark in (("student", "student", "s--"), ("assistant", "with assistant", "o-")):
        axes.plot(epochs, [row[key] for row in history], mark, label=name)
    axes.set(xlabel="epochs", ylabel="error of the maps", ylim=(0, None))
    axes.set_xticks(list(epochs))
    axes.legend()
    grid = right.subplots(rows, 5, squeeze=False)
    largest = float(maps[0].abs().max())
    titles = ("image", "$T$", "$S$", "$A$", "$S+A$")
    for row, line in enumerate(grid):
        figures.image(line[0], pictures[row])
        for axes, panel in zip(line[1:], maps, strict=True):
            axes.imshow(panel[row], cmap="RdBu_r", vmin=-largest, vmax=largest)
            axes.axis("off")
        if row == 0:
            for axes, title in zip(line, titles, strict=True):
                axes.set_title(title)
    return figure


def shares(course: list[dict[str, float]]) -> Figure:
    """The share of its own that each student layer has, epoch by epoch."""
    figure, axes = plt.subplots(figsize=(5.6, 3.0))
    epochs = range(1, len(course) + 1)
    for path, mark in zip(course[0], ("o-", "s--", "^:"), strict=False):
        axes.plot(epochs, [row[path] for row in course], mark, label=path)
    axes.set(xlabel="epochs", ylabel="the student's own share", ylim=(0, 1.03))
    axes.set_xticks(list(epochs))
    axes.legend(loc="lower right")
    return figure


def students(table: pd.DataFrame) -> Figure:
    """`kdnb.methods.architecture.measure` as a picture: accuracy against multiply-adds and against time."""
    figure, grid = plt.subplots(1, 2, figsize=(8.8, 3.6), sharey=True)
    marks = ("o", "s", "^", "D", "v", "P", "X")
    for axes, column, scale, label in (
        (grid[0], "multiply_adds", 1e-6, "multiply-adds of an image, millions"),
        (grid[1], "latency_1", 1.0, "time for one image, ms"),
    ):
        for (name, row), mark in zip(table.iterrows(), marks, strict=False):
            axes.plot(scale * row[column], 100 * row["accuracy"], mark, ms=8, ls="",
                      mfc=None if row["pareto"] else "white", label=name)  # fmt: skip
        axes.set(xlabel=label)
        axes.set_xlim(0, 1.08 * scale * table[column].max())
    grid[0].set_ylabel("test accuracy, %")
    best = table[table["pareto"]].sort_values("multiply_adds")
    grid[0].plot(1e-6 * best["multiply_adds"], 100 * best["accuracy"], color=figures.GREY, lw=1,
                 zorder=0)  # fmt: skip
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure
