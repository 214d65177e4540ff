"""The charts draw the numbers they are given: read back from the artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy import stats

from kdnb import figures

NAMES = ["teacher", "undistilled student", "KD"]
ROLES = {"teacher": "teacher", "undistilled student": "student"}


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = [
        (name, seed, mean + rng.normal(0, 5))
        for seed in range(6)
        for name, mean in zip(NAMES, (80, 150, 120), strict=True)
    ]
    return pd.DataFrame(rows, columns=["condition", "seed", "errors"])


def seeds_drawn(figure: Figure) -> list[float]:
    """Horizontal places of all small dots."""
    found = []
    for collection in figure.axes[0].collections:
        if collection.get_label() != "published":
            found += list(collection.get_offsets()[:, 0])
    return sorted(found)


def finite(line) -> np.ndarray:
    """The points (N, 2) of a line that are drawn; seaborn adds places without a value."""
    points = np.column_stack([np.asarray(values, float) for values in line.get_data()])
    return points[np.isfinite(points).all(axis=1)]


def means_and_intervals(figure: Figure) -> list[tuple[float, float, float, float]]:
    """(row, mean, low, high) of every point, from top to bottom."""
    points, bars = {}, {}
    for line in figure.axes[0].lines:
        drawn = finite(line)
        if line.get_marker() not in ("None", None) and len(drawn) == 1:
            points[float(drawn[0, 1])] = float(drawn[0, 0])
        elif len(drawn) == 2 and drawn[0, 1] == drawn[1, 1]:
            bars[float(drawn[0, 1])] = (float(drawn[:, 0].min()), float(drawn[:, 0].max()))
    return [(row, points[row], *bars[row]) for row in sorted(points)]


def vertical_lines(figure: Figure) -> list[float]:
    lines = [line.get_xdata() for line in figure.axes[0].lines]
    return [float(x[0]) for x in lines if len(x) == 2 and x[0] == x[1]]


def t_interval(values: np.ndarray) -> tuple[float, float]:
    return stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))


def test_points_draws_every_seed_the_means_and_scipys_interval(frame):
    figure = figures.points(frame, "errors", "errors of 10,000", roles=ROLES)
    assert seeds_drawn(figure) == pytest.approx(sorted(frame.errors))
    drawn = means_and_intervals(figure)
    assert [row for row, *_ in drawn] == [0, 1, 2]
    for (_, mean, low, high), name in zip(drawn, NAMES, strict=True):
        values = frame[frame.condition == name].errors.to_numpy()
        assert mean == pytest.approx(values.mean())
        assert (low, high) == pytest.approx(t_interval(values))
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == NAMES
    assert axes.get_xlabel() == "errors of 10,000"
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first condition is at the top


def test_points_takes_the_order_it_is_given_and_leaves_out_the_rest(frame):
    figure = figures.points(frame, "errors", "errors", order=["KD", "teacher"])
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == ["KD", "teacher"]
    (_, kd, *_), (_, teacher, *_) = means_and_intervals(figure)
    means = frame.groupby("condition").errors.mean()
    assert (kd, teacher) == pytest.approx((means["KD"], means["teacher"]))


def test_a_baseline_is_a_line_at_its_mean_and_has_the_students_colour(frame):
    figure = figures.points(frame, "errors", "errors", baseline="undistilled student")
    mean = frame[frame.condition == "undistilled student"].errors.mean()
    assert vertical_lines(figure) == pytest.approx([mean])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "mean of undistilled student" in legend
    (dot,) = [line for line in figure.axes[0].lines if finite(line)[:, 1].tolist() == [1.0]]
    assert to_hex(dot.get_color()).upper() == figures.ROLES["student"]


def test_one_seed_has_a_point_and_no_interval():
    frame = pd.DataFrame({"condition": ["a", "b"], "seed": 0, "errors": [1.0, 2.0]})
    figure = figures.points(frame, "errors", "errors")
    drawn = [finite(line).tolist() for line in figure.axes[0].lines]
    assert [points for points in drawn if points] == [[[1.0, 0.0]], [[2.0, 1.0]]]


def test_no_text_is_cut_however_long_the_names(frame):
    long = frame.replace({"KD": "knowledge distillation at a temperature of four"})
    course = pd.concat(long.assign(epoch=epoch) for epoch in range(20))
    for figure in (
        figures.points(long, "errors", "errors", baseline="undistilled student"),
        figures.paired(long, "errors", "errors", against="undistilled student"),
        figures.lines(course, "errors", "errors", baseline=1.0, baseline_label="a level " * 5),
    ):
        figure.canvas.draw()
        extent = figure.legends[0].get_window_extent()
        assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width
        for label in figure.axes[0].get_yticklabels():
            assert label.get_window_extent().x0 >= 0


def test_the_legend_of_given_axes_lies_below_them(frame):
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    figures.points(frame, "errors", "errors", baseline="undistilled student", axes=left)
    figures.paired(frame, "errors", "errors", against="undistilled student", axes=right)
    right.set_xlabel("a label\nof two lines")
    figure.canvas.draw()
    for axes in (left, right):
        legend = axes.get_legend().get_window_extent()
        assert legend.y1 <= axes.xaxis.label.get_window_extent().y0
        assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width and legend.y0 >= 0


def test_groups_lie_beside_each_other_with_a_legend(frame):
    both = pd.concat(
        [frame.assign(what="one"), frame.assign(what="ensemble", errors=frame.errors - 9)]
    )
    figure = figures.points(both, "errors", "errors", group="what")
    drawn = means_and_intervals(figure)
    assert len(drawn) == 6 and len({round(row) for row, *_ in drawn}) == 3
    ones, ensembles = drawn[0::2], drawn[1::2]
    for one, ensemble in zip(ones, ensembles, strict=True):
        assert one[1] - ensemble[1] == pytest.approx(9)
    assert {"one", "ensemble"} <= {text.get_text() for text in figure.legends[0].get_texts()}


def test_published_values_are_diamonds_on_their_rows(frame):
    figure = figures.published_beside_ours(frame, "errors", "errors", {"KD": 74, "teacher": 67})
    (diamonds,) = [c for c in figure.axes[0].collections if c.get_label() == "published"]
    assert diamonds.get_offsets().tolist() == [[74, 2], [67, 0]]
    with pytest.raises(ValueError, match="'no_3', which is not drawn"):
        figures.published_beside_ours(frame, "errors", "errors", {"no_3": 1})
    with pytest.raises(ValueError, match="nothing is published"):
        figures.published_beside_ours(frame, "errors", "errors", {})


def test_paired_draws_differences_seed_by_seed_and_zero(frame):
    shuffled = frame.sample(frac=1, random_state=0)
    figure = figures.paired(
        shuffled, "errors", "errors", against="undistilled student", order=NAMES, better="lower"
    )
    wide = frame.pivot(index="seed", columns="condition", values="errors")
    for (_, mean, low, high), name in zip(
        means_and_intervals(figure), ["teacher", "KD"], strict=True
    ):
        difference = (wide[name] - wide["undistilled student"]).to_numpy()
        assert mean == pytest.approx(difference.mean())
        assert (low, high) == pytest.approx(t_interval(difference))
    assert vertical_lines(figure) == [0]
    label = figure.axes[0].get_xlabel()
    assert "difference from undistilled student" in label and "left of 0: better" in label


def test_paired_leaves_out_seeds_that_only_one_has_and_refuses_doubles(frame):
    short = frame[~((frame.condition == "KD") & (frame.seed > 3))]
    differences = figures.paired_differences(short, "errors", "teacher")
    assert sorted(differences[differences.condition == "KD"].seed) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="two values of 'teacher' at seed 0"):
        figures.paired_differences(pd.concat([frame, frame.iloc[:1]]), "errors", "KD")
    with pytest.raises(ValueError, match="shares 1 seeds"):
        figures.paired_differences(
            frame[(frame.condition != "KD") | (frame.seed == 0)], "errors", "teacher"
        )


def test_forest_draws_known_intervals_and_points_without(frame):
    known = pd.DataFrame(
        {"mean": [1, 2, 3.0], "low": [0.8, 1.2, np.nan], "high": [1.1, 2.9, np.nan],
         "published": [1.1, np.nan, 2.5]},
        index=["a", "b", "c"],
    )  # fmt: skip
    figure = figures.forest(known, "errors, %")
    *ours, published = figure.axes[0].lines
    drawn = [finite(line).tolist() for line in ours]
    assert drawn[0] == [[1, 0], [2, 1], [3, 2]]
    assert [sorted(x for x, _ in bar) for bar in drawn[1:3]] == [[0.8, 1.1], [1.2, 2.9]]
    assert len({x for x, _ in drawn[3]}) <= 1  # no interval is known of c
    assert finite(published).tolist() == [[1.1, 0], [2.5, 2]]


def test_forests_are_forests_below_one_another_under_one_legend():
    known = pd.DataFrame({"mean": [1, 2.0], "low": [0.8, 1.2], "high": [1.1, 2.9],
                          "published": [1.1, np.nan]}, index=["a", "b\nin two lines"])  # fmt: skip
    other = known.assign(published=np.nan) * 100
    figure = figures.forests([("first", "errors", known), ("second", "%", other)])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["first", "second"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["errors", "%"]
    for axes, frame in zip(figure.axes, (known, other), strict=True):
        alone = figures.forest(frame, "errors").axes[0]
        for line, same in zip(axes.lines, alone.lines, strict=True):
            assert finite(line).tolist() == finite(same).tolist()
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["ours, 95% interval", "published"]


def test_lines_draw_means_and_scipys_band():
    rng = np.random.default_rng(0)
    rows = [(c, s, e, 50 / e + rng.normal()) for c in "ab" for s in range(5) for e in range(1, 21)]
    frame = pd.DataFrame(rows, columns=["condition", "seed", "epoch", "error"])
    figure = figures.lines(
        frame, "error", "validation error, %", baseline=3.0, baseline_label="teacher"
    )
    axes = figure.axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) == 20]
    for name, curve in zip("ab", curves, strict=True):
        means = frame[frame.condition == name].groupby("epoch").error.mean()
        np.testing.assert_allclose(curve.get_ydata(), means)
    band = axes.collections[0].get_paths()[0].vertices
    low, high = t_interval(frame[(frame.condition == "a") & (frame.epoch == 7)].error.to_numpy())
    at = sorted(set(band[band[:, 0] == 7][:, 1]))
    assert (at[0], at[-1]) == pytest.approx((low, high))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "validation error, %")
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["teacher", "a", "b"]
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
    assert curves[0].get_linestyle() != curves[1].get_linestyle()  # told apart without colour


def test_lines_on_a_logarithmic_axis_draw_means_and_not_means_of_logarithms():
    frame = pd.DataFrame({"condition": "a", "seed": [0, 1], "epoch": 1, "error": [1.0, 100.0]})
    axes = figures.lines(pd.concat([frame, frame.assign(epoch=2)]), "error", "error", log="y").axes[
        0
    ]
    assert axes.get_yscale() == "log"
    curve = next(line for line in axes.lines if len(line.get_xdata()) == 2)
    np.testing.assert_allclose(curve.get_ydata(), 50.5)


def test_lines_with_bars_show_every_seed_at_the_places_given():
    rows = [("a", s, t, t + s) for s in range(3) for t in (1, 2, 4, 8, 20)]
    frame = pd.DataFrame(rows, columns=["condition", "seed", "T", "error"])
    figure = figures.lines(
        frame, "error", "error, %", over="T", over_label="$T$", bars=True, log="x"
    )
    axes = figure.axes[0]
    seeds = axes.collections[0].get_offsets().data.tolist()
    assert sorted(map(tuple, seeds)) == sorted(
        (t, t + s) for s in range(3) for t in (1, 2, 4, 8, 20)
    )
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4", "8", "20"]
    assert axes.get_xscale() == "log"


def test_bars_of_several_conditions_lie_beside_each_other():
    rows = [(c, s, t, t + s) for c in "ab" for s in range(3) for t in (1, 10)]
    frame = pd.DataFrame(rows, columns=["condition", "seed", "T", "error"])
    axes = figures.lines(frame, "error", "error, %", over="T", bars=True, log="x").axes[0]
    one, other = (
        line.get_xdata()
        for line in axes.lines
        if line.get_marker() in ("o", "s") and len(line.get_xdata()) == 2
    )
    assert 1.01 < other[0] / one[0] < 1.05 and one[0] * other[0] == pytest.approx(1)
    assert list(axes.get_xticks()) == [1, 10]


def test_heat_draws_the_matrix_writes_small_ones_and_labels_its_bar():
    matrix = pd.DataFrame(
        [[1.0, -0.001], [np.nan, 4.0]],
        index=pd.Index(["cat", "dog"], name="true class"),
        columns=pd.Index(["cat", "dog"], name="answer"),
    )
    figure = figures.heat(matrix, "probability, %", decimals=1)
    axes, bar = figure.axes
    drawn = axes.collections[0].get_array()
    np.testing.assert_array_equal(drawn.filled(np.nan), matrix.to_numpy())
    assert [text.get_text() for text in axes.texts] == ["1.0", "0.0", "4.0"]  # and no -0.0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("answer", "true class")
    assert bar.get_ylabel() == "probability, %"
    assert not any(line.get_visible() for line in axes.get_xgridlines() + axes.get_ygridlines())
    large = figures.heat(pd.DataFrame(np.random.rand(20, 20)), "distance")
    assert not large.axes[0].texts


def test_long_names_of_rows_widen_the_figure_and_leave_the_matrix_its_size():
    matrix = pd.DataFrame(np.eye(10))
    figure = figures.heat(matrix.set_axis(["label smoothing, 0.1"] * 10), "change", centre=0)
    figure.canvas.draw()
    axes = figure.axes[0].get_window_extent().height / figure.bbox.height
    assert figure.get_figwidth() > figures.heat(matrix, "change").get_figwidth() + 1
    assert axes > 0.75  # no wide margin above and below


def test_heat_maps_beside_each_other_share_one_scale_and_one_bar():
    one = pd.DataFrame([[1.0, 2.0]])
    figure = figures.heat({"paper": one, "authors": 3 * one}, "weight", centre=0)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["paper", "authors"]
    assert len(figure.axes) == 3
    assert {axes.collections[0].get_clim() for axes in figure.axes[:2]} == {(-6.0, 6.0)}


def test_tidy_names_the_arms_of_a_record_in_order():
    columns = pd.MultiIndex.from_tuples(
        [("no_3", "errors"), ("kd", "errors")], names=["arm", "metric"]
    )
    table = pd.DataFrame([[1.0, 2.0], [3.0, np.nan]], columns=columns, index=[4, 5])
    frame = figures.tidy(table, "errors", {"kd": "KD", "no_3": "never saw a 3"})
    assert frame.values.tolist() == [
        ["KD", 4, 2.0],
        ["never saw a 3", 4, 1.0],
        ["never saw a 3", 5, 3.0],
    ]
    with pytest.raises(ValueError, match="no 'errors' of 'dkd': it has no_3, kd"):
        figures.tidy(table, "errors", {"dkd": "DKD"})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"value": "loss"}, "no column 'loss': it has condition, seed, errors"),
        ({"order": ["DKD"]}, "no row is of 'DKD'"),
        ({"baseline": "student"}, "the baseline 'student' is not among"),
        ({"roles": {"student": "student"}}, "roles names 'student', which is not among"),
        ({"roles": {"KD": "pupil"}}, "'pupil' is no role"),
    ],
)
def test_what_is_not_there_is_named(frame, more, message):
    with pytest.raises(ValueError, match=message):
        figures.points(frame, **{"value": "errors", "label": "errors"} | more)


def test_the_frame_is_left_as_it_was(frame):
    before = frame.copy()
    figures.points(frame, "errors", "errors", baseline=100.0)
    figures.paired(frame, "errors", "errors", against="KD")
    pd.testing.assert_frame_equal(frame, before)
