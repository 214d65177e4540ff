"""One quantity as a strip: seeds as points, their mean and interval, what is published and asked.

Inline SVG: it takes the page's colours, in the light and in the dark, and needs no file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT, EDGE = 420, 46, 16
AXIS, MIDDLE = 30, 14  # heights of the axis and of the points


def strip(
    seeds: Sequence[float],
    mean: float,
    interval: tuple[float, float],
    published: float,
    asked: tuple[float | None, float | None],
    name: str,
) -> str:
    """The strip as SVG; nothing where there is no value of ours.

    Args:
        seeds: one value for each seed; none for a ratio of means.
        asked: the range that the claim asks for, None where it is open; both for none.
        name: of the quantity, for those who cannot see it.
    """
    if not math.isfinite(mean):
        return ""
    bounds = [bound for bound in asked if bound is not None]
    shown = [one for one in [*seeds, mean, *interval, published, *bounds] if math.isfinite(one)]
    low, high = min(shown), max(shown)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room

    def x(value: float) -> str:
        return f"{EDGE + (WIDTH - 2 * EDGE) * (value - low) / (high - low):.1f}"

    parts = []
    if bounds:
        left, right = (
            edge if one is None else one for one, edge in zip(asked, (low, high), strict=True)
        )
        parts.append(
            f'<rect class="asked" x="{x(left)}" y="2" width="{float(x(right)) - float(x(left)):.1f}" '
            f'height="{AXIS - 2}"/>'
        )
    parts.append(f'<line class="axis" x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{AXIS}" y2="{AXIS}"/>')
    ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    for tick in ticks:
        parts.append(
            f'<line class="axis" x1="{x(tick)}" x2="{x(tick)}" y1="{AXIS}" y2="{AXIS + 4}"/>'
        )
        parts.append(f'<text x="{x(tick)}" y="{HEIGHT - 2}">{tick + 0.0:.4g}</text>')
    parts += [f'<circle class="seed" cx="{x(one)}" cy="{MIDDLE - 5}" r="2.6"/>' for one in seeds]
    if all(map(math.isfinite, interval)):
        ends = f'x1="{x(interval[0])}" x2="{x(interval[1])}"'
        parts.append(f'<line class="interval" {ends} y1="{MIDDLE + 6}" y2="{MIDDLE + 6}"/>')
    parts.append(f'<circle class="mean" cx="{x(mean)}" cy="{MIDDLE + 6}" r="4"/>')
    if math.isfinite(published):
        parts.append(
            f'<path class="published" d="M{x(published)} {MIDDLE - 1}l6 7l-6 7l-6 -7z" fill="none"/>'
        )
    said = f"{name}: mean {mean:.4g}"
    if len(seeds):
        said += f", {len(seeds)} seeds from {min(seeds):.4g} to {max(seeds):.4g}"
    if math.isfinite(published):
        said += f", published {published:.4g}"
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    label = escape(said, quote=True)
    return f'<svg class="kdnb-strip" role="img" aria-label="{label}" {size}>{"".join(parts)}</svg>'


LEGEND = (
    '<p class="kdnb-legend"><svg class="kdnb-strip" width="38" height="14" aria-hidden="true">'
    '<circle class="seed" cx="8" cy="7" r="2.6"/><circle class="seed" cx="20" cy="7" r="2.6"/>'
    '<circle class="seed" cx="30" cy="7" r="2.6"/></svg> seeds '
    '<svg class="kdnb-strip" width="44" height="14" aria-hidden="true">'
    '<line class="interval" x1="4" x2="40" y1="7" y2="7"/><circle class="mean" cx="22" cy="7" r="4"/>'
    "</svg> our mean, 95% interval "
    '<svg class="kdnb-strip" width="18" height="16" aria-hidden="true">'
    '<path class="published" d="M9 1l6 7l-6 7l-6 -7z" fill="none"/></svg> published '
    '<svg class="kdnb-strip" width="26" height="14" aria-hidden="true">'
    '<rect class="asked" x="2" y="1" width="22" height="12"/></svg> range that is asked for. '
    "A ratio of means has no value for each seed.</p>"
)
