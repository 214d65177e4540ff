"""Names beside points: nothing overlaps, nothing leaves the axes, and the layout stays."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from kdnb import figures

CLUSTER = {f"name {i}": (1 + 0.04 * (i % 4), 2 + 0.15 * (i // 4)) for i in range(12)}


def drawn(where, **more):
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.scatter(*zip(*where.values(), strict=True))
    axes.set(xlim=(0, 2), ylim=(0, 4))
    figures.label(axes, where, **more)
    figure.draw_without_rendering()
    return axes, {text.get_text(): text.get_window_extent() for text in axes.texts}


def test_names_of_a_cluster_cover_neither_one_another_nor_a_point():
    axes, boxes = drawn(CLUSTER)
    assert set(boxes) == set(CLUSTER)
    for one, other in itertools.combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    for box, at in itertools.product(boxes.values(), CLUSTER.values()):
        assert not box.contains(*axes.transData.transform(at))


def test_a_name_stays_within_the_axes():
    corners = {"lower left": (0.01, 0.01), "upper right": (1.99, 3.99)}
    axes, boxes = drawn(corners)
    frame = axes.get_window_extent()
    for box in boxes.values():
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_a_name_avoids_the_points_that_are_named_to_it():
    one = {"a long name": (1.0, 2.0)}
    _, free = drawn(one)
    box = free["a long name"]
    axes, _ = drawn(one)
    inside = axes.transData.inverted().transform([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    axes, moved = drawn(one, avoid=[tuple(inside)])
    assert not moved["a long name"].contains(*axes.transData.transform(inside))


def test_a_line_joins_a_name_to_a_point_only_where_it_is_away():
    axes, _ = drawn({"alone": (1.0, 2.0)})
    assert not axes.lines
    axes, _ = drawn(CLUSTER)
    assert axes.lines


def test_a_point_outside_of_the_axes_has_no_name_and_the_layout_stays():
    axes, boxes = drawn({"inside": (1.0, 2.0), "outside": (5.0, 2.0)})
    assert set(boxes) == {"inside"}
    before = axes.get_window_extent().bounds
    axes.figure.draw_without_rendering()
    assert np.allclose(before, axes.get_window_extent().bounds)
