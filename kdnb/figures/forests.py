"""Forests: means and intervals computed elsewhere, beside the published values."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdnb.figures.charts import PUBLISHED, ROW, _axes, _key, _mark, _rows
from kdnb.figures.theme import BLUE


def forest(frame: pd.DataFrame, label: str, *, axes: Axes | None = None) -> Figure:
    """Means and intervals computed elsewhere, beside the published values.

    Args:
        frame: index: names; columns `mean`, `low`, `high`, `published` (NaN where there is none).
        label: of the horizontal axis, with its unit.
        axes: axes to draw into, instead of a new figure.
    """
    figure, axes, own = _axes(axes, len(frame))
    _key(figure, axes, _forest(frame, label, axes), own)
    return figure


def forests(panels: Sequence[tuple[str, str, pd.DataFrame]]) -> Figure:
    """Several `forest`s stacked, each with its own axis, with one legend.

    Args:
        panels: (title, label of the horizontal axis, frame) of each.
    """
    heights = [
        len(frame) + 0.6 * sum(str(n).count("\n") for n in frame.index) for *_, frame in panels
    ]
    figure, every = plt.subplots(
        len(panels), layout="constrained", squeeze=False,
        figsize=(7.2, sum(ROW * rows + 1.0 for rows in heights) + 0.4),
        height_ratios=[rows + 1.0 for rows in heights],
    )  # fmt: skip
    handles: dict[str, Line2D] = {}
    for axes, (title, label, frame) in zip(every[:, 0], panels, strict=True):
        handles |= {handle.get_label(): handle for handle in _forest(frame, label, axes)}
        axes.set_title(title, loc="left")
    _key(figure, every[-1, 0], list(handles.values()), True)
    return figure


def _forest(frame: pd.DataFrame, label: str, axes: Axes) -> list[Line2D]:
    """Draw one forest and return the handles for its legend."""
    names = [str(name) for name in frame.index]
    # seaborn draws the median and the range of three numbers: the mean and its interval.
    rows = frame[["low", "mean", "high"]].assign(place=range(len(names)))
    rows = rows.melt("place").dropna()
    sns.pointplot(
        rows, x="value", y="place", orient="y", native_scale=True, estimator="median",
        errorbar=("pi", 100), color=BLUE, linestyle="none", markersize=6.5, err_kws={"linewidth": 2},
        ax=axes, zorder=3,
    )  # fmt: skip
    handles = [_mark("o", BLUE, "ours, 95% interval", line=True)]
    known = frame["published"].to_numpy(dtype=float)
    if np.isfinite(known).any():
        axes.plot(known, range(len(names)), "D", color=PUBLISHED, mfc="none", mew=1.5, ms=7,
                  ls="none", zorder=5, label="published")  # fmt: skip
        handles.append(_mark("D", PUBLISHED, "published", size=6, hollow=True))
    _rows(axes, names, label, False)
    return handles
