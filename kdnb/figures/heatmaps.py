"""Heat maps: matrices on one scale with one colour bar."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SMALL = 120  # write values for up to this number of cells


def heat(
    matrix: pd.DataFrame | Mapping[str, pd.DataFrame],
    label: str,
    *,
    limits: tuple[float, float] | None = None,
    centre: float | None = None,
    decimals: int | None = None,
    cells: bool | None = None,
    axes: Axes | None = None,
) -> Figure:
    """A matrix as a heat map with one colour bar; several matrices share one scale and one bar.

    Args:
        matrix: rows and columns named as shown to readers; the names of the index and of the
            columns label the axes. NaN cells stay white. Or title -> matrix.
        label: what the colours show, with its unit.
        limits: of the scale; by default the range of all values.
        centre: the middle of a scale of two colours, such as 0.
        decimals: of the values written into the cells.
        cells: whether values are written; by default if a matrix has at most 120 cells.
        axes: where to draw one matrix instead of into a new figure.
    """
    panels = {"": matrix} if isinstance(matrix, pd.DataFrame) else dict(matrix)
    values = np.concatenate([one.to_numpy(dtype=float).ravel() for one in panels.values()])
    low, high = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
    if centre is not None and limits is None:
        reach = max(high - centre, centre - low)
        low, high = centre - reach, centre + reach
    rows, columns = (max(one.shape[side] for one in panels.values()) for side in (0, 1))
    if cells is None:
        cells = rows * columns <= SMALL
    if decimals is None:
        decimals = 0 if high - low >= 20 else 1 if high - low >= 2 else 2
    cell = min(0.5, (5.4 if cells else 4.2) / max(rows, columns))
    cell = min(cell, (8.4 - 0.8 * len(panels)) / (len(panels) * columns))
    wide = 0.2 if any(_long(one.columns) for one in panels.values()) else 0.27
    steps = {"xticklabels": math.ceil(wide / cell), "yticklabels": math.ceil(0.19 / cell)}
    if axes is None:
        named = max(len(str(name)) for one in panels.values() for name in one.index)
        beside = 1.0 + 0.09 * max(0, named - 3)  # the colour bar, and long names of rows
        size = (len(panels) * (cell * columns + 0.8) + beside, cell * rows + 1.2)
        figure, grid = plt.subplots(
            1, len(panels), layout="compressed", figsize=size, squeeze=False,
            sharey=len(panels) > 1,
        )  # fmt: skip
        grid = list(grid[0])
    else:
        figure, grid = axes.figure, [axes]
    for panel, (title, one) in zip(grid, panels.items(), strict=True):
        sns.heatmap(
            one.astype(float), vmin=low, vmax=high, cmap="cividis" if centre is None else "vlag",
            annot=one.astype(float).round(decimals) + 0.0 if cells else False,
            fmt=f".{decimals}f", annot_kws={"fontsize": 9}, cbar=False, square=True, **steps,
            linewidths=0.5 if cells else 0, linecolor="white", ax=panel,
        )  # fmt: skip
        turn = (
            {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
            if _long(one.columns)
            else {"rotation": 0}
        )
        panel.set_xticks(
            panel.get_xticks(), [t.get_text() for t in panel.get_xticklabels()], **turn
        )
        panel.set(title=title, xlabel=one.columns.name or "", ylabel=one.index.name or "")
        panel.grid(False)  # it would show through the cells that are left white
        panel.tick_params(left=False, bottom=False)
        panel.tick_params(axis="y", rotation=0)
        if panel is not grid[0]:
            panel.set_ylabel("")
    figure.colorbar(
        grid[0].collections[0], ax=grid, label=label, fraction=0.05, pad=0.02
    ).outline.set_visible(False)
    return figure


def _long(names: pd.Index) -> bool:
    return max((len(str(name)) for name in names), default=0) > 3
