"""Common charts, drawn with seaborn: each takes a tidy table and returns a figure.

Tidy means one row per measurement: a column for the condition, one for the seed, one for the value.
`tidy` makes such a table from a record. Intervals are 95% t intervals of the mean over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from kdnb.figures.theme import GREY, colours

PUBLISHED = "#1A1A1A"  # the published value: a hollow diamond, nearly black
ROW = 0.44  # height of a condition in inches
SHIFT = 0.24  # how far the seeds lie below their mean, in rows


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% t interval of the mean; NaN for fewer than two values."""
    from scipy import stats

    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return math.nan, math.nan
    half = stats.t.ppf(0.975, len(x) - 1) * stats.sem(x)
    return float(x.mean() - half), float(x.mean() + half)


def tidy(table: pd.DataFrame, metric: str, names: Mapping[str, str]) -> pd.DataFrame:
    """One metric of a record's table in the form that charts take: columns condition, seed, `metric`.

    Args:
        table: one row per seed, columns (arm, metric), as `Record.table()` gives it.
        metric: such as `test_errors`.
        names: arm -> the name shown to readers, in the order of drawing.

    Raises:
        ValueError: for an arm that the table does not have for this metric.
    """
    parts = []
    for arm, name in names.items():
        if (arm, metric) not in table.columns:
            known = [one for one, what in table.columns if what == metric]
            raise ValueError(
                f"the table has no {metric!r} of {arm!r}: it has {', '.join(known) or 'none'}."
            )
        values = table[arm, metric].dropna()
        columns = {"condition": name, "seed": values.index, metric: values.to_numpy()}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def points(
    frame: pd.DataFrame,
    value: str,
    label: str,
    *,
    condition: str = "condition",
    group: str | None = None,
    order: Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    baseline: str | float | None = None,
    baseline_label: str | None = None,
    published: Mapping[str, float] | None = None,
    log: bool = False,
    repetition: str = "seed",
    axes: Axes | None = None,
) -> Figure:
    """The mean of every condition with its 95% interval, and every seed as a dot below it.

    Args:
        frame: one row per condition and seed.
        value: the column to draw along the horizontal axis.
        label: its name with the unit: `test error, %`.
        condition: the column of the conditions; they are drawn from top to bottom as they come.
        group: a column that splits each condition, such as one network and the ensemble. Colours
            then belong to the groups, by `roles`.
        order: the conditions to draw, in this order.
        roles: condition -> role; see `colours`. The baseline's is `student` unless given.
        baseline: a condition, whose mean is drawn as a dashed line, or a value.
        baseline_label: the line's name in the legend; by default "mean of" the condition.
        published: condition -> the published value, drawn as a hollow diamond.
        log: whether the axis is logarithmic.
        repetition: what a small dot is, for the legend.
        axes: axes to draw into, instead of a new figure.

    Raises:
        ValueError: for a column or a condition that the frame does not have.
    """
    frame, order = _prepared(
        frame, [value, condition, *([group] if group else [])], condition, order
    )
    if isinstance(baseline, str) and baseline not in order:
        raise ValueError(f"the baseline {baseline!r} is not among {', '.join(order)}.")
    if unknown := [name for name in published or {} if name not in order]:
        raise ValueError(f"a value is published of {unknown[0]!r}, which is not drawn.")
    groups = list(dict.fromkeys(frame[group])) if group else [""]
    figure, axes, own = _axes(axes, len(order) * (1 if len(groups) < 3 else 1.4))
    if isinstance(baseline, str):
        roles = {baseline: "student"} | dict(roles or {}) if not group else roles
        at = frame.loc[frame[condition] == baseline, value].mean()
    else:
        at = baseline
    if at is not None:
        axes.axvline(at, color=GREY, lw=1.2, ls=(0, (5, 3)), zorder=1)
    palette = colours(groups if group else order, roles)
    step = 0.72 / len(groups) if group else 0
    for number, name in enumerate(groups):
        part = frame[frame[group] == name] if group else frame
        shift = (number - (len(groups) - 1) / 2) * step
        _mean_and_seeds(
            axes, part, value, condition, order, shift,
            palette=[palette[name]] * len(order) if group else [palette[one] for one in order],
            marker="osD^v"[number % 5], below=SHIFT if not group else 0.42 * step,
        )  # fmt: skip
    handles = [_mark("o", PUBLISHED if group else GREY, "mean, 95% interval", line=True)]
    if group:
        handles = [_mark("osD^v"[i % 5], palette[name], name) for i, name in enumerate(groups)]
    handles.append(_mark("o", GREY, f"one {repetition}", size=3.5, alpha=0.55))
    if at is not None:
        what = f"mean of {baseline}" if isinstance(baseline, str) else "baseline"
        style = {"color": GREY, "lw": 1.2, "ls": (0, (5, 3)), "label": baseline_label or what}
        handles.append(Line2D([], [], **style))
    if published:
        places = [order.index(name) for name in published]
        axes.scatter(list(published.values()), places, s=52, marker="D", facecolors="none",
                     edgecolors=PUBLISHED, linewidths=1.5, zorder=5, label="published")  # fmt: skip
        handles.append(_mark("D", PUBLISHED, "published", size=6, hollow=True))
    _rows(axes, order, label, log)
    _key(figure, axes, handles, own)
    return figure


def published_beside_ours(
    frame: pd.DataFrame, value: str, label: str, published: Mapping[str, float], **more: object
) -> Figure:
    """`points` with the published value of each condition as a hollow diamond.

    Args:
        frame, value, label, more: as in `points`.
        published: condition -> value; conditions without one are drawn without.
    """
    if not published:
        raise ValueError("nothing is published of these conditions: call points instead.")
    return points(frame, value, label, published=published, **more)


def paired(
    frame: pd.DataFrame,
    value: str,
    label: str,
    *,
    against: str,
    condition: str = "condition",
    seed: str = "seed",
    better: Literal["lower", "higher"] | None = None,
    order: Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Differences from one condition over the same seeds, with their 95% interval and a zero line.

    Args:
        frame: one row per condition and seed; seeds that only one of the two conditions has are left out.
        value, label, order, roles: as in `points`.
        against: the condition that is subtracted.
        better: text on the axis that says which side of zero is better.

    Raises:
        ValueError: if a condition shares fewer than two seeds with `against`, or has two rows for
            one seed.
    """
    frame, order = _prepared(frame, [value, condition, seed], condition, order)
    differences = paired_differences(frame, value, against, condition=condition, seed=seed)
    order = [name for name in order if name != against]
    differences = differences[differences[condition].isin(order)]
    figure, axes, own = _axes(axes, len(order))
    axes.axvline(0, color=GREY, lw=1.2, zorder=1)
    palette = colours(order, {name: role for name, role in (roles or {}).items() if name in order})
    _mean_and_seeds(axes, differences, value, condition, order, 0, [palette[n] for n in order])
    side = {"lower": "  (left of 0: better)", "higher": "  (right of 0: better)", None: ""}[better]
    _rows(axes, order, f"{label}: difference from {against}{side}", False)
    handles = [_mark("o", GREY, "mean difference, 95% interval", line=True),
               _mark("o", GREY, "one pair of one seed", size=3.5, alpha=0.55)]  # fmt: skip
    _key(figure, axes, handles, own)
    return figure


def paired_differences(
    frame: pd.DataFrame,
    value: str,
    against: str,
    *,
    condition: str = "condition",
    seed: str = "seed",
) -> pd.DataFrame:
    """Columns condition, seed, `value`: each condition minus `against`, seed by seed."""
    twice = frame.duplicated([condition, seed])
    if twice.any():
        row = frame[twice].iloc[0]
        raise ValueError(f"two values of {row[condition]!r} at seed {row[seed]}: one is needed.")
    wide = frame.pivot(index=seed, columns=condition, values=value)
    if against not in wide:
        raise ValueError(f"{against!r} is not among {', '.join(map(str, wide.columns))}.")
    minus = wide.drop(columns=against).sub(wide[against], axis=0)
    for name in minus:
        if minus[name].count() < 2:
            raise ValueError(
                f"{name!r} shares {minus[name].count()} seeds with {against!r}: too few."
            )
    return minus.reset_index().melt(seed, var_name=condition, value_name=value).dropna()


def lines(
    frame: pd.DataFrame,
    value: str,
    label: str,
    *,
    over: str = "epoch",
    over_label: str | None = None,
    condition: str = "condition",
    seed: str = "seed",
    order: Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    baseline: float | None = None,
    baseline_label: str = "baseline",
    bars: bool = False,
    log: Literal["", "x", "y", "xy"] = "",
    axes: Axes | None = None,
) -> Figure:
    """Curves of the mean over seeds, with a band of its 95% interval.

    Args:
        frame: one row per condition, seed and position on the horizontal axis. A column `seed` is not
            needed if there is one run of each condition.
        value, label: the column and label of the vertical axis, with its unit.
        over, over_label: the column of the horizontal axis and, if that is not enough, its label.
        order: the conditions to draw, in this order; roles: see `colours`.
        baseline: a level drawn as a dashed line, called `baseline_label`.
        bars: draw intervals as bars and every seed as a dot, for a few positions such as temperatures.
            Several conditions are drawn slightly apart, so that their bars can be seen.
        log: the axes that are logarithmic.
        axes: axes to draw into, instead of a new figure.
    """
    frame, order = _prepared(frame, [value, over, condition], condition, order)
    own = axes is None
    figure, axes = (
        plt.subplots(layout="constrained", figsize=(7.2, 3.4)) if own else (axes.figure, axes)
    )
    if "x" in log:
        axes.set_xscale("log")
    places = frame[over].nunique()
    palette = colours(order, roles)
    ticks = sorted(frame[over].unique())
    if bars and len(order) > 1:
        frame = _dodged(frame, over, condition, order, "x" in log)
    few = bars or places <= 12
    if baseline is not None:
        axes.axhline(baseline, color=GREY, lw=1.2, ls=(0, (1, 1.5)), zorder=1, label=baseline_label)
    if bars and seed in frame:
        for name in order:
            part = frame[frame[condition] == name]
            axes.scatter(part[over], part[value], s=12, color=palette[name], alpha=0.45, lw=0)
    sns.lineplot(
        frame, x=over, y=value, hue=condition, style=condition, hue_order=order, style_order=order,
        palette=palette, markers=["o", "s", "D", "^", "v", "P", "X", "<"][: len(order)] if few and len(order) <= 8 else False,
        errorbar=interval, err_style="bars" if bars else "band", ax=axes, markeredgewidth=0,
        **({"err_kws": {"capsize": 0, "elinewidth": 1.6}} if bars else {}),
    )  # fmt: skip
    if "y" in log:  # only now: on a logarithmic axis seaborn averages logarithms
        axes.set_yscale("log")
    if places <= 10:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    elif pd.api.types.is_integer_dtype(frame[over]) and "x" not in log:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=over if over_label is None else over_label, ylabel=label)
    handles, texts = axes.get_legend_handles_labels()
    if legend := axes.get_legend():
        legend.remove()
    if len(texts) > 1:
        if own:
            _key(figure, axes, handles, own)
        else:
            axes.legend(handles, texts, loc="best")
    return figure


# --- shared by the charts --------------------------------------------------------------------------


def _prepared(
    frame: pd.DataFrame, columns: Sequence[str], condition: str, order: Sequence[str] | None
) -> tuple[pd.DataFrame, list[str]]:
    """The rows to draw, and their conditions in order."""
    for name in columns:
        if name not in frame:
            there = ", ".join(map(str, frame.columns))
            raise ValueError(f"the frame has no column {name!r}: it has {there}.")
    known = list(dict.fromkeys(frame[condition]))
    chosen = known if order is None else list(order)
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(f"no row is of {unknown[0]!r}: there are {', '.join(map(str, known))}.")
    if not chosen:
        raise ValueError("the frame has no rows to draw.")
    return frame[frame[condition].isin(chosen)], chosen


def _axes(axes: Axes | None, rows: float) -> tuple[Figure, Axes, bool]:
    if axes is not None:
        return axes.figure, axes, False
    figure, axes = plt.subplots(layout="constrained", figsize=(7.2, ROW * rows + 1.4))
    return figure, axes, True


def _mean_and_seeds(
    axes: Axes, frame: pd.DataFrame, value: str, condition: str, order: Sequence[str],
    shift: float, palette: Sequence[str], marker: str = "o", below: float = SHIFT,
) -> None:  # fmt: skip
    """A point and its interval for each condition, and its seeds `below` it."""
    places = {name: number + shift for number, name in enumerate(order)}
    drawn = pd.DataFrame({
        "place": frame[condition].map(places), "seeds": frame[condition].map(places) + below,
        "value": frame[value].astype(float), "condition": frame[condition],
    })  # fmt: skip
    look = {"hue": "condition", "hue_order": order, "palette": list(palette), "legend": False,
            "orient": "y", "native_scale": True, "ax": axes}  # fmt: skip
    sns.stripplot(drawn, x="value", y="seeds", jitter=False, size=4, alpha=0.55, zorder=2, **look)
    sns.pointplot(
        drawn, x="value", y="place", errorbar=interval, linestyle="none", markers=marker,
        markersize=6.5, err_kws={"linewidth": 2}, zorder=3, **look,
    )  # fmt: skip


def _dodged(
    frame: pd.DataFrame, over: str, condition: str, order: Sequence[str], log: bool
) -> pd.DataFrame:
    """The conditions, each moved by a hundredth of the horizontal axis."""
    place = np.log(frame[over].astype(float)) if log else frame[over].astype(float)
    number = frame[condition].map({name: i - (len(order) - 1) / 2 for i, name in enumerate(order)})
    moved = place + 0.01 * np.ptp(place) * number.astype(float)
    return frame.assign(**{over: np.exp(moved) if log else moved})


def _rows(axes: Axes, names: Sequence[str], label: str, log: bool) -> None:
    axes.set_yticks(range(len(names)), [str(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set(xlabel=label, ylabel="")
    axes.grid(False, axis="y")
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    if log:
        axes.set_xscale("log")


def _mark(
    marker: str, colour: str, label: str, *, size: float = 6, line: bool = False,
    hollow: bool = False, alpha: float = 1.0,
) -> Line2D:  # fmt: skip
    return Line2D([], [], marker=marker, color=colour, ms=size, ls="-" if line else "none", lw=2,
                  mfc="none" if hollow else colour, mew=1.5 if hollow else 0, alpha=alpha,
                  label=label)  # fmt: skip


def _key(figure: Figure, axes: Axes, handles: Sequence[Line2D], own: bool) -> None:
    """The legend, clear of all points: below our own figure, or below the given axes."""
    widths = [0.6 + 0.08 * len(handle.get_label()) for handle in handles]
    if own:
        fits = max(1, min(len(handles), int(0.97 * figure.get_figwidth() / max(widths))))
        if sum(widths) <= figure.get_figwidth():
            fits = len(handles)
        rows = math.ceil(len(handles) / fits)
        figure.set_figheight(figure.get_figheight() + 0.24 * (rows - 1))
        figure.legend(
            handles=handles, loc="outside lower center", ncols=math.ceil(len(handles) / rows),
            handletextpad=0.5, columnspacing=1.6,
        )  # fmt: skip
    else:
        extent = axes.get_window_extent()
        # A fifth is left for the tick labels.
        fits = int(0.8 * extent.width / figure.dpi / max(widths))
        # Inches below the axes: the ticks, and a label of up to two lines.
        below = axes.transAxes + ScaledTranslation(0, -0.73, figure.dpi_scale_trans)
        axes.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below,
            ncols=max(1, min(len(handles), fits)), handletextpad=0.5, columnspacing=1.6,
            borderaxespad=0.0,
        )  # fmt: skip
