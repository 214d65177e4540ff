"""Names beside the points of a scatter plot, placed without overlap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from kdnb.figures.theme import GREY

MARKER = 4.0  # half the width of a marker, in points
NEAR = 6  # in points: how far a name may be from its marker without a line between them
# Candidate positions of a name: rings around its point, nearest first, with sixteen directions each.
REACH = np.repeat([NEAR, 12, 20, 30, 42, 56, 72], 16)[:, None]
TURN = np.tile(np.arange(16), 7)[:, None] * np.pi / 8
RING = np.hstack([np.cos(TURN), np.sin(TURN)])


def label(
    axes: Axes,
    where: Mapping[str, tuple[float, float]],
    *,
    avoid: Iterable[tuple[float, float]] = (),
    size: float = 9,
) -> None:
    """Write each name beside its point, clear of the other points and names.

    A name takes the first free position on rings around its point; if it is not close, or another
    point is closer, a thin line joins them. Names are placed in order. If nothing is free within an
    inch, a name takes the position that overlaps least.

    Args:
        axes: with everything drawn and limits set, since positions are found on the page.
        where: name -> (x, y) in data coordinates. The name of a point outside the axes is
            not written.
        avoid: further points that no name should cover, such as some of a line.
        size: of the text, in points.
    """
    figure = axes.figure
    figure.draw_without_rendering()  # fixes the layout
    unit = figure.dpi / 72  # pixels per point
    frame = axes.get_window_extent().extents
    there = {name: axes.transData.transform(at) for name, at in where.items()}
    there = {name: at for name, at in there.items() if axes.get_window_extent().contains(*at)}
    marks = np.array([*there.values(), *map(axes.transData.transform, avoid)]).reshape(-1, 2)
    taken = np.hstack([marks - MARKER * unit, marks + MARKER * unit])
    points = np.array([*there.values()]).reshape(-1, 2)
    for number, (name, at) in enumerate(there.items()):
        text = axes.annotate(
            name, where[name], (0, 0), textcoords="offset points", fontsize=size, ha="center",
            va="center", zorder=6, path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
        text.set_in_layout(False)  # otherwise it would move the axes under the other names
        half = np.array(text.get_window_extent().size) / 2
        middles = at + RING * (REACH * unit + half)
        boxes = np.hstack([middles - half, middles + half])
        outside = 4 * half.prod() - _shared(boxes, frame[None])[:, 0]
        covered = outside + _shared(boxes, taken).sum(1)
        best = int(
            np.argmin(covered.round(3))
        )  # else rounding errors would decide among free positions
        taken = np.vstack([taken, boxes[best]])
        text.set_position((middles[best] - at) / unit)
        gaps = np.linalg.norm(points - np.clip(points, boxes[best, :2], boxes[best, 2:]), axis=1)
        if REACH[best, 0] > NEAR or gaps.argmin() != number:
            end = np.clip(at, boxes[best, :2], boxes[best, 2:])
            ends = axes.transData.inverted().transform([end, at])
            (line,) = axes.plot(*ends.T, color=GREY, lw=0.6, zorder=2)
            line.set_in_layout(False)


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The areas that boxes (m, 4) share with others (n, 4), as (m, n); a box is x0, y0, x1, y1."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(min=0).prod(2)
