"""Grids of images, and images beside a network's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax

from kdnb.figures.heatmaps import heat
from kdnb.figures.theme import BLUE, ORANGE

FRAMES = {True: (BLUE, "-"), False: (ORANGE, (0, (1.5, 1.5)))}  # distinct without colour, too
PALE = "#8FC1E0"  # a pale shade of the teacher's blue


def image(
    axes: Axes, picture: Any, extent: tuple[float, float, float, float] | None = None
) -> None:
    """One uint8 picture (C, H, W) without a frame; a single channel is drawn dark on light.

    Args:
        extent: left, right, bottom, top, if it shares the axes with others.
    """
    array = np.asarray(picture).transpose(1, 2, 0)
    axes.imshow(array.squeeze(), cmap="gray_r", interpolation="nearest", extent=extent)
    axes.axis("off")


def images(
    pictures: Any,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    framed: Sequence[Sequence[bool | None]] | None = None,
    per_row: int | None = None,
    limits: tuple[float, float] | None = None,
    label: str = "",
    size: float = 0.9,
) -> Figure:
    """A grid of images with titles for its rows and columns.

    Args:
        pictures: (R, C, channels, H, W), or (N, channels, H, W), which are laid out in one row or
            `per_row` to a row; nested lists of (channels, H, W) work too. uint8, or numbers from
            0 to 1.
        rows, columns: titles, to the left and on top.
        captions: one below each image, nested like the layout.
        framed: for each image True (a solid frame, for example for a right answer), False (a dashed
            one) or None, nested like the layout.
        limits: for maps of one channel that are not images: the limits of their colour scale, which
            a colour bar called `label` then shows. A scale around 0 is drawn in two colours.
        size: width of an image in inches.

    Raises:
        ValueError: if the number of titles is not that of the rows or columns.
    """
    grid = _grid(pictures, per_row)
    wide = max(map(len, grid))
    for titles, count, what in ((rows, len(grid), "rows"), (columns, wide, "columns")):
        if titles is not None and len(titles) != count:
            raise ValueError(f"{len(titles)} titles of {what} for {count} {what} of images.")
    aspect = grid[0][0].shape[-2] / grid[0][0].shape[-1]
    margin = 0.085 * max((len(line) for text in rows or [] for line in text.split("\n")), default=0)
    high = size * aspect + (0.17 if captions else 0)
    figure, axes = plt.subplots(
        len(grid), wide, squeeze=False, layout="constrained",
        figsize=(wide * (size + 0.06) + margin + (1.0 if limits else 0.1),
                 len(grid) * (high + 0.06) + (0.35 if columns else 0.1)),
    )  # fmt: skip
    # A colour bar moves the images after space was made for the row titles.
    pad = 0.08 if limits else 0.02
    figure.get_layout_engine().set(w_pad=pad, h_pad=0.02, wspace=0, hspace=0)
    scale: dict[str, Any] = {"cmap": "gray_r", "vmin": 0, "vmax": 1}
    if limits:
        scale = {"cmap": "vlag" if limits[0] < 0 < limits[1] else "cividis",
                 "vmin": limits[0], "vmax": limits[1]}  # fmt: skip
    drawn = None
    for r, line in enumerate(axes):
        for c, cell in enumerate(line):
            cell.set(xticks=[], yticks=[])
            cell.grid(False)
            cell.spines[:].set_visible(False)
            if c >= len(grid[r]):
                continue
            array = grid[r][c]
            whole = array.dtype == np.uint8 and not limits
            array = array / 255 if whole else array
            array = array if limits else array.clip(0, 1)
            drawn = cell.imshow(
                array.transpose(1, 2, 0).squeeze(), interpolation="nearest", **scale
            )
            if columns is not None and r == 0:
                cell.set_title(columns[c], fontsize=10)
            if captions is not None:
                cell.set_xlabel(captions[r][c], fontsize=9, labelpad=2)
            if framed is not None and framed[r][c] is not None:
                colour, dashes = FRAMES[bool(framed[r][c])]
                cell.spines[:].set(visible=True, color=colour, linewidth=2.2, linestyle=dashes)
        if rows is not None:
            line[0].set_ylabel(rows[r], rotation=0, ha="right", va="center", fontsize=10)
    if limits:
        figure.colorbar(drawn, ax=axes, label=label, fraction=0.05).outline.set_visible(False)
    return figure


def bars(axes: Axes, shares: Any, classes: Sequence[str]) -> None:
    """Probabilities (K,) as bars; the likeliest class darker."""
    shares = np.asarray(shares)
    likeliest = int(np.argmax(shares))
    places = range(len(shares))
    sns.barplot(
        x=list(places), y=shares, hue=[place == likeliest for place in places], legend=False,
        palette={False: PALE, True: BLUE}, saturation=1, width=0.8, dodge=False, ax=axes,
        native_scale=True,
    )  # fmt: skip
    short = all(len(name) <= 2 for name in classes)
    axes.set_xticks(places, classes if short else places)
    axes.grid(False, axis="x")


def softened(
    pictures: Any, logits: Any, temperatures: Sequence[float], classes: Sequence[str]
) -> Figure:
    """Pictures (N, C, H, W) beside the softmax of their logits (N, K) at several temperatures.

    All bars have one scale, from 0 to 1.
    """
    rows, columns = len(pictures), len(temperatures) + 1
    figure, grid = plt.subplots(
        rows, columns, layout="constrained", figsize=(2.1 * columns, 1.15 * rows + 0.5), squeeze=False,
        width_ratios=[0.7] + [1.5] * len(temperatures),
    )  # fmt: skip
    for column, temperature in enumerate(temperatures, 1):
        shares = softmax(np.asarray(logits) / temperature, axis=1)
        for row, axes in enumerate(grid[:, column]):
            bars(axes, shares[row], classes)
            axes.set(ylim=(0, 1), yticks=(0, 0.5, 1))
            axes.tick_params(labelbottom=row == rows - 1, labelleft=column == 1)
        grid[0, column].set_title(f"$T$ = {temperature:g}")
        grid[-1, column].set_xlabel("class")
    for row, picture in enumerate(pictures):
        image(grid[row, 0], picture)
    grid[rows // 2, 1].set_ylabel("probability")
    return figure


def class_likeness(shares: Any, classes: Sequence[str]) -> Figure:
    """Mean softened outputs (true class, class), the diagonal left out."""
    values = 100 * np.array(shares, dtype=float)
    np.fill_diagonal(values, np.nan)
    index = pd.Index(classes, name="true class")
    given = pd.Index(classes, name="class that gets the probability")
    return heat(pd.DataFrame(values, index, given), "mean softened probability, %")


def _grid(pictures: Any, per_row: int | None) -> list[list[np.ndarray]]:
    first = pictures[0]
    if np.ndim(first) == 3:
        wide = per_row or len(pictures)
        pictures = [pictures[start : start + wide] for start in range(0, len(pictures), wide)]
    elif per_row is not None:
        raise ValueError("per_row is for images in one row: these are in rows already.")
    return [[np.asarray(picture) for picture in line] for line in pictures]
