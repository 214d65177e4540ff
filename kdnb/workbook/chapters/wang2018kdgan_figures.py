"""Figures of chapter 5-1: three ways to bring in an adversary, and what comes of each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from kdnb import figures
from kdnb.methods.adversarial import concrete, gumbel_noise
from kdnb.papers.statistics import interval
from kdnb.runs.trials import Result

LOOKS = [(figures.ORANGE, "--"), (figures.BLUE, "-"), (figures.GREEN, "-."), (figures.GREY, ":")]

# --- the three categories ------------------------------------------------------------------------

TEACHER, STUDENT, PLAYER, GIVEN = figures.BLUE, figures.ORANGE, figures.PURPLE, figures.LIGHT
# A panel: boxes (x, y, text, colour), plain arrows, arrows that teach, arrows of the game.
PANELS: dict[str, tuple[list, list, list, list]] = {
    "(a) a generator makes data": (
        [(0.07, 0.5, "noise", GIVEN), (0.36, 0.5, "generator", PLAYER),
         (0.65, 0.5, "images\n(+ real)", GIVEN), (0.95, 0.86, "teacher", TEACHER),
         (0.95, 0.14, "student", STUDENT)],
        [(0, 1), (1, 2), (2, 3), (2, 4)], [(3, 4)], [(3, 1), (4, 1)],
    ),
    "(b) a discriminator compares": (
        [(0.1, 0.5, "images", GIVEN), (0.4, 0.86, "teacher", TEACHER),
         (0.4, 0.14, "student", STUDENT), (0.84, 0.5, "discrimi-\nnator", PLAYER)],
        [(0, 1), (0, 2), (1, 3), (2, 3)], [(1, 2)], [(3, 2)],
    ),
    "(c) both play together": (
        [(0.1, 0.5, "images", GIVEN), (0.42, 0.86, "teacher", TEACHER),
         (0.42, 0.14, "student", STUDENT), (0.84, 0.5, "discrimi-\nnator", PLAYER),
         (0.84, 0.06, "true\nlabels", GIVEN)],
        [(0, 1), (0, 2), (1, 3), (2, 3), (4, 3)], [(1, 2), (2, 1)], [(3, 1), (3, 2)],
    ),
}  # fmt: skip


def categories() -> Figure:
    """The survey's three categories, in our drawing: who makes, who judges, who learns."""
    figure, grid = plt.subplots(1, 3, figsize=(11.6, 3.6), width_ratios=[1.35, 1, 1])
    kinds = (
        (figures.GREY, "-", "images, answers"),
        (figures.GREEN, "-", "teaches"),
        (figures.RED, (0, (4, 2)), "gradient of the game"),
    )
    for axes, (title, (boxes, *arrows)) in zip(grid, PANELS.items(), strict=True):
        wide = 0.2 if axes is grid[0] else 0.23
        for group, (colour, style, _) in zip(arrows, kinds, strict=True):
            for start, end in group:
                bent = 0.3 if colour == figures.RED else 0.0
                bent = -bent if (end, title[1]) == (1, "a") and start == 4 else bent
                bent = 0.22 if (end, start) in group else bent
                look = {"arrowstyle": "-|>", "color": colour, "lw": 1.7, "ls": style,
                        "shrinkA": 27, "shrinkB": 27, "mutation_scale": 13,
                        "connectionstyle": f"arc3,rad={bent}"}  # fmt: skip
                axes.annotate("", boxes[end][:2], boxes[start][:2], arrowprops=look)
        for x, y, text, colour in boxes:
            patch = FancyBboxPatch(
                (x - wide / 2, y - 0.09), wide, 0.18, boxstyle="round,pad=0.015", fc=colour,
                ec=figures.GREY, alpha=0.35, lw=1.1, zorder=3,
            )  # fmt: skip
            axes.add_patch(patch)
            axes.text(x, y, text, ha="center", va="center", fontsize=9, zorder=4)
        axes.set_title(title)
        axes.set(xlim=(-0.05, 1.07), ylim=(-0.09, 1.04))
        axes.axis("off")
    handles = [plt.Line2D([], [], color=c, ls=s, lw=1.7, label=label) for c, s, label in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


# --- the game ------------------------------------------------------------------------------------


def adversary() -> Figure:
    """Left: two densities and the best guess. Right: how hard a score pushes its maker."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.1))
    x = np.linspace(-4, 5, 400)
    real, fake = (np.exp(-((x - m) ** 2) / 2) / np.sqrt(2 * np.pi) for m in (1.5, -0.5))
    left.plot(x, real, color=figures.BLUE, label="teacher's answers")
    left.plot(x, fake, color=figures.ORANGE, ls="--", label="student's answers")
    left.plot(x, real / (real + fake), color=figures.GREY, ls=":", label="best guess: teacher")
    left.set(xlabel="one number of an answer", ylabel="density, probability", ylim=(0, 1.42))
    left.legend(loc="upper left", fontsize=8.5, ncols=2)
    scores = np.linspace(-6, 6, 200)
    sure = 1 / (1 + np.exp(-scores))
    right.plot(scores, sure, color=figures.RED, ls="--", label=r"saturating, $\sigma(d)$")
    right.plot(scores, 1 - sure, color=figures.GREEN, label=r"non-saturating, $1-\sigma(d)$")
    right.set(xlabel="score $d$ of what was made (low: seen through)", ylabel="push on the score",
              ylim=(0, 1.35))  # fmt: skip
    right.legend(loc="upper center", fontsize=8.5, ncols=2)
    return figure


def simplex(logits: Tensor, temperatures: Sequence[float], count: int = 400) -> Figure:
    """Concrete samples of one answer to three classes: each is a point of the triangle."""
    figure, grid = plt.subplots(
        1, len(temperatures), figsize=(2.5 * len(temperatures), 2.6), squeeze=False
    )
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noise = gumbel_noise(logits.expand(count, 3))
    for axes, temperature in zip(grid[0], temperatures, strict=True):
        samples = concrete(logits.expand(count, 3), noise, temperature)
        places = (samples @ corners).numpy()
        axes.plot(*corners[[0, 1, 2, 0]].T.numpy(), color=figures.GREY, lw=1)
        colours = np.array([figures.BLUE, figures.ORANGE, figures.GREEN])[samples.argmax(1).numpy()]
        axes.scatter(*places.T, s=9, color=colours, alpha=0.5, lw=0)
        mean = (logits.softmax(-1) @ corners).numpy()
        axes.plot(*mean, "x", color=figures.RED, ms=9, mew=2)
        for corner, name, shift in zip(corners, "123", ((-7, -4), (7, -4), (0, 8)), strict=True):
            axes.annotate(name, corner.tolist(), shift, textcoords="offset points",
                          ha="center", va="center")  # fmt: skip
        axes.set_title(rf"$\tau$ = {temperature:g}")
        axes.set(xlim=(-0.12, 1.12), ylim=(-0.1, 0.98), aspect="equal")
        axes.axis("off")
    return figure


def chooser() -> ipywidgets.Widget:
    """Choose the temperature and how sure the answer is; see the samples."""
    temperature = ipywidgets.FloatLogSlider(
        value=1.0, base=10, min=-1.5, max=1, step=0.1, description="tau", continuous_update=False
    )
    sure = ipywidgets.FloatSlider(
        value=1.0, min=0, max=4, step=0.25, description="logit of 1", continuous_update=False
    )
    picture = ipywidgets.Image(format="png")

    def draw(_: object = None) -> None:
        logits = torch.tensor([sure.value, 0.0, -0.5])
        figure, buffer = simplex(logits, [temperature.value]), io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        picture.value = buffer.getvalue()

    for control in (temperature, sure):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([temperature, sure]), picture])


def courses(results: Mapping[str, Sequence[Result]], watched: int) -> Figure:
    """Validation accuracy over the epochs of a game, one line for each seed.

    Args:
        watched: validation images that the errors were counted on.
    """
    figure, axes = plt.subplots(figsize=(7.0, 3.1))
    for (name, found), (colour, line) in zip(results.items(), LOOKS, strict=False):
        for number, result in enumerate(found):
            accuracy = 100 * (1 - np.array(result.series["validation_errors"]) / watched)
            axes.plot(range(1, len(accuracy) + 1), accuracy, color=colour, ls=line, lw=1.5,
                      alpha=0.85, label=None if number else name)  # fmt: skip
    axes.axhline(10, color=figures.LIGHT, lw=1.2)
    axes.set(xlabel="epoch of the game (grey: chance)", ylabel="validation accuracy, %",
             ylim=(0, 100))  # fmt: skip
    axes.legend(loc="lower right")
    return figure


def arm_rows(table: pd.DataFrame, names: Mapping[str, str], metric: str) -> pd.DataFrame:
    """Mean, 95% interval and nothing published of arms, as `figures.forest` takes them."""
    rows = {}
    for arm, label in names.items():
        values = table[(arm, metric)].dropna().to_numpy()
        low, high = interval(values)
        rows[label] = {"mean": values.mean(), "low": low, "high": high, "published": np.nan}
    return pd.DataFrame.from_dict(rows, orient="index")


# --- the illustrations ---------------------------------------------------------------------------


def sureness(pictures: Mapping[str, Tensor], sure: Mapping[str, Tensor]) -> Figure:
    """Left: rows of images from 0 to 1. Right: how often the teacher is less sure than a bound.

    Args:
        sure: the largest probability of each image, under the same names.
    """
    figure = plt.figure(figsize=(9.6, 2.7))
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    _rows(left.subplots(len(pictures), len(next(iter(pictures.values())))), pictures)
    axes = right.subplots()
    bounds = (0.5, 0.9, 0.99)
    for shift, (name, values), colour in zip(
        (-0.26, 0, 0.26), sure.items(), (figures.BLUE, figures.GREEN, figures.ORANGE), strict=True
    ):
        shares = [100 * float((values < bound).float().mean()) for bound in bounds]
        bars = axes.bar(np.arange(3) + shift, shares, 0.25, color=colour, label=name)
        axes.bar_label(bars, fmt="%.0f", fontsize=8, padding=1)
    axes.set_xticks(range(3), [f"below {bound:g}" for bound in bounds])
    axes.set(xlabel="teacher's largest probability", ylabel="images, %")
    axes.margins(y=0.12)
    axes.grid(False, axis="x")
    axes.legend(fontsize=8.5, loc="upper left")
    return figure


def arranged(teacher: Tensor, students: Mapping[str, Tensor], labels: Tensor) -> Figure:
    """Features on the teacher's two main axes: the teacher's in grey, the student's by class.

    Args:
        teacher: (images, numbers), and of each student likewise.
    """
    centre = teacher.mean(0)
    axes_of = torch.linalg.svd(teacher - centre, full_matrices=False).Vh[:2].T
    figure, grid = plt.subplots(
        1, len(students), figsize=(3.1 * len(students), 3.2), sharex=True, sharey=True
    )
    for axes, (name, values) in zip(np.atleast_1d(grid), students.items(), strict=True):
        axes.scatter(*((teacher - centre) @ axes_of).T.numpy(), s=14, color=figures.LIGHT, lw=0)
        points = axes.scatter(
            *((values - centre) @ axes_of).T.numpy(), s=8, c=labels.numpy(), cmap="tab10",
            vmin=-0.5, vmax=9.5, lw=0,
        )  # fmt: skip
        axes.set_title(name)
        axes.set(xlabel="first axis of the teacher")
    np.atleast_1d(grid)[0].set(ylabel="second axis")
    figure.colorbar(points, ax=grid, label="digit (grey: teacher)", ticks=range(10))
    return figure


def domains(pictures: Tensor, moved: Tensor, accuracies: pd.DataFrame) -> Figure:
    """Left: images of both domains, normalised. Right: accuracies in percent, a column a domain."""
    figure = plt.figure(figsize=(9.4, 2.9))
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.15])
    both = torch.cat([pictures, moved])
    scale = {"cmap": "gray_r", "vmin": float(both.min()), "vmax": float(both.max())}
    for line, images in zip(left.subplots(2, len(pictures)), (pictures, moved), strict=True):
        for axes, picture in zip(line, images, strict=True):
            axes.imshow(picture[0].numpy(), **scale)
            axes.axis("off")
    axes = right.subplots()
    places = np.arange(len(accuracies))[::-1]
    for shift, column, colour in (
        (0.19, accuracies.columns[0], figures.BLUE),
        (-0.19, accuracies.columns[1], figures.ORANGE),
    ):
        bars = axes.barh(places + shift, accuracies[column], 0.36, color=colour, label=column)
        axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=8.5)
    axes.set_yticks(places, accuracies.index)
    axes.set(xlabel="test accuracy, %", xlim=(0, 112))
    axes.grid(False, axis="y")
    right.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def drawn(rows: Mapping[str, Tensor]) -> Figure:
    """Rows of images (images, 1, height, width) on the scale from 0 to 1, one name a row."""
    count = min(len(images) for images in rows.values())
    figure, grid = plt.subplots(len(rows), count, figsize=(0.72 * count + 2.2, 0.8 * len(rows)))
    _rows(grid, rows)
    return figure


def _rows(grid: np.ndarray, rows: Mapping[str, Tensor]) -> None:
    """Images into a grid of axes, each row with its name on the left."""
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, picture in zip(line, images, strict=False):
            axes.imshow(picture[0].numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
            axes.axis("off")
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center",
                     fontsize=9)  # fmt: skip
