"""The figures of the workbook: one style, one way to show and keep them, and those that recur.

Colours are Okabe and Ito's, which readers with any common colour vision can tell apart.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor
from torch.nn import functional as F

from kdnb import paths
from kdnb.runs.provenance import provenance

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9",
)  # fmt: skip
GREY, LIGHT = "#595959", "#D9D9D9"


def style() -> None:
    """Use the workbook's style for every figure from here on."""
    plt.style.use(str(paths.PACKAGE / "kdnb.mplstyle"))


def show(figure: Figure, name: str, alt: str) -> None:
    """Display a figure with a text for who cannot see it; in a run, keep it too.

    The runner names the folder in `KDNB_FIGURES`: a reader who plays with a notebook, and a test
    that executes it, leave the workbook's figures as they are.

    Args:
        name: the file's name without its ending, such as `2-1-temperature`.
        alt: what the figure shows, in a sentence or two.
    """
    buffer = io.BytesIO()
    code = provenance()
    source = f"kdnb commit {code['commit']}{' with changes' if code['dirty'] else ''}"
    about = {"Title": name, "Description": alt, "Source": source, "Software": None}
    figure.savefig(buffer, format="png", metadata=about)
    plt.close(figure)
    if folder := os.environ.get("KDNB_FIGURES"):
        paths.atomic_write(Path(folder) / f"{name}.png", buffer.getvalue())
    display(
        {"image/png": buffer.getvalue(), "text/plain": alt},
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )


def image(
    axes: plt.Axes, picture: Tensor, extent: tuple[float, float, float, float] | None = None
) -> None:
    """One uint8 picture (C, H, W) without a frame; a single channel is drawn dark on light.

    Args:
        extent: left, right, bottom, top, where it shares the axes with others.
    """
    array = np.asarray(picture).transpose(1, 2, 0)
    axes.imshow(array.squeeze(), cmap="gray_r", interpolation="nearest", extent=extent)
    axes.axis("off")


def softened(
    pictures: Tensor, logits: Tensor, temperatures: Sequence[float], classes: Sequence[str]
) -> Figure:
    """Pictures (N, C, H, W) beside the softmax of their logits (N, K) at several temperatures.

    Every column has a scale of its own, from 0 to a little above its highest bar.
    """
    rows, columns = len(pictures), len(temperatures) + 1
    figure, grid = plt.subplots(
        rows, columns, figsize=(2.1 * columns, 1.35 * rows + 0.5), squeeze=False, sharey="col",
        width_ratios=[0.7] + [1.5] * len(temperatures),
    )  # fmt: skip
    for column, temperature in enumerate(temperatures, 1):
        shares = F.softmax(logits / temperature, 1).numpy()
        for row, axes in enumerate(grid[:, column]):
            bars(axes, shares[row], classes)
            axes.set_ylim(0, min(1.0, 1.12 * float(shares.max())))
            axes.tick_params(labelbottom=row == rows - 1)
        grid[0, column].set_title(f"$T$ = {temperature:g}")
        grid[-1, column].set_xlabel("class")
    for row, picture in enumerate(pictures):
        image(grid[row, 0], picture)
    figure.supylabel("probability (scales differ between columns)", fontsize=10)
    return figure


def bars(axes: plt.Axes, shares: np.ndarray, classes: Sequence[str]) -> None:
    """Probabilities (K,) as bars; the likeliest class in orange."""
    colours = [BLUE] * len(shares)
    colours[int(np.argmax(shares))] = ORANGE
    axes.bar(range(len(shares)), shares, color=colours, width=0.8)
    short = all(len(name) <= 2 for name in classes)
    axes.set_xticks(range(len(classes)), classes if short else range(len(classes)))
    axes.grid(False, axis="x")


def class_likeness(shares: Tensor, classes: Sequence[str]) -> Figure:
    """Mean softened outputs (true class, class), the diagonal left out."""
    values = np.asarray(shares, dtype=float).copy()
    np.fill_diagonal(values, np.nan)
    figure, axes = plt.subplots(figsize=(5.4, 4.4))
    picture = axes.imshow(100 * values, cmap="cividis")
    axes.set_xticks(
        range(len(classes)), classes, rotation=0 if len(max(classes, key=len)) < 3 else 60
    )
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="class the teacher is reminded of", ylabel="true class")
    axes.grid(False)
    figure.colorbar(picture, ax=axes, label="mean softened probability, %")
    return figure


def published_and_ours(frame: pd.DataFrame) -> pd.DataFrame:
    """`papers.show_frame` as a reader wants it: one row a quantity, numbers as text."""

    def number(value: float) -> str:
        return "" if pd.isna(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"

    kept = frame.drop_duplicates(["claim", "quantity"], keep="last")
    bounds = [
        f"{number(a)} to {number(b)}" if pd.notna(a) else ""
        for a, b in zip(kept.low, kept.high, strict=True)
    ]
    columns = {
        "claim": kept.claim,
        "quantity": kept.quantity,
        "claimed": kept.requirement,
        "published": kept.published.map(number),
        "ours": kept.ours.map(number),
        "95% interval": bounds,
        "n": kept.n,
        "p (Holm)": kept.p.map(number),
        "holds": kept.holds.map({True: "yes", False: "no"}).fillna(""),
    }
    return pd.DataFrame(columns).set_index(["claim", "quantity"])


def forest_rows(frame: pd.DataFrame, quantities: Sequence[str]) -> pd.DataFrame:
    """The rows of `papers.show_frame` for some quantities, as `forest` takes them."""
    rows = frame.drop_duplicates("quantity").set_index("quantity").loc[list(quantities)]
    return rows.rename(columns={"ours": "mean"})[["mean", "low", "high", "published"]]


def forest(frame: pd.DataFrame, unit: str) -> Figure:
    """Our mean and 95% interval of each quantity beside the published value.

    Args:
        frame: index: labels; columns `mean`, `low`, `high`, `published` (NaN where none).
        unit: of the horizontal axis.
    """
    places = np.arange(len(frame))[::-1]
    figure, axes = plt.subplots(figsize=(7.2, 0.4 * len(frame) + 1.2))
    spread = np.abs(frame[["low", "high"]].to_numpy().T - frame["mean"].to_numpy())
    axes.errorbar(
        frame["mean"],
        places,
        xerr=spread,
        fmt="o",
        color=BLUE,
        capsize=3,
        label="ours, 95% interval",
    )
    if frame["published"].notna().any():
        known = frame["published"]
        axes.plot(known, places, "D", color=ORANGE, mfc="none", mew=1.6, label="published")
    axes.set_yticks(places, frame.index)
    axes.set_ylim(-0.7, len(frame) - 0.3)
    axes.set_xlabel(unit)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def teacher_student(knowledge: str = "soft targets") -> Figure:
    """The schematic of offline distillation: a frozen teacher, a student, and the two losses."""
    figure, axes = plt.subplots(figsize=(8.4, 3.3))
    axes.set_xlim(0, 12.2)
    axes.set_ylim(0, 4.6)
    axes.axis("off")

    def box(x, y, width, text, colour, height=0.95):
        patch = FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0.06", fc=colour, ec=GREY, lw=1.2, alpha=0.3
        )
        axes.add_patch(patch)
        axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=10)

    def arrow(x0, y0, x1, y1, colour=GREY):
        axes.annotate(
            "", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.5}
        )

    box(0.1, 1.8, 1.3, "images\n$x$", LIGHT)
    box(2.3, 3.2, 2.4, "teacher\n(trained, frozen)", BLUE)
    box(2.3, 0.5, 2.4, "student\n(to be trained)", ORANGE)
    box(5.7, 3.2, 2.6, r"softmax$(v/T)$" + f"\n{knowledge}", BLUE)
    box(5.7, 1.25, 2.6, r"softmax$(z/T)$", ORANGE, 0.7)
    box(5.7, 0.1, 2.6, r"softmax$(z)$", ORANGE, 0.7)
    box(9.3, 2.25, 2.7, "distillation loss\n" + r"$T^2\,\mathrm{KL}$", GREEN)
    box(9.3, 0.1, 2.7, "student loss\ncross-entropy with $y$", GREEN, 0.9)
    arrow(1.5, 2.4, 2.2, 3.6)
    arrow(1.5, 2.1, 2.2, 1.0)
    arrow(4.8, 3.7, 5.6, 3.7)
    arrow(4.8, 1.1, 5.6, 1.6)
    arrow(4.8, 0.85, 5.6, 0.45)
    arrow(8.4, 3.6, 9.2, 3.0)
    arrow(8.4, 1.6, 9.2, 2.4)
    arrow(8.4, 0.45, 9.2, 0.5)
    axes.text(5.2, 3.88, "logits $v$", ha="center", fontsize=9, color=GREY)
    axes.text(5.2, 1.62, "logits $z$", ha="center", fontsize=9, color=GREY)
    return figure
