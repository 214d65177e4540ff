"""Diagrams: texts fit their boxes, labels cover nothing, arrows go where they should."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from kdnb import figures

CASES = {
    "offline": (
        {"x": ("images $x$", 0, 0.5), "t": ("teacher\n(frozen)", 1, 0, "teacher"),
         "s": ("student", 1, 1, "student"), "l": ("distillation loss", 2, 0.5, "method")},
        [("x", "t"), ("x", "s"), ("t", "l", "soft targets"), ("s", "l", "answers"),
         ("l", "s", "gradient", "--")],
    ),
    "mutual": (
        {"x": ("images", 0, 0.5), "1": ("peer 1", 1, 0, "student"), "2": ("peer 2", 1, 1, "student"),
         "y": ("label", 2, 0), "z": ("label", 2, 1)},
        [("x", "1"), ("x", "2"), ("1", "2", "$p_1$ teaches"), ("2", "1", "$p_2$ teaches"),
         ("1", "y", "cross-entropy"), ("2", "z", "cross-entropy")],
    ),
    "three": (
        {"x": ("a very long name of data", 0, 1), "1": ("1", 1, 0), "2": ("2", 1, 1), "3": ("3", 1, 2),
         "m": ("mean of the\nother two", 2.4, 1, "teacher")},
        [("x", "1"), ("x", "2"), ("x", "3"), ("1", "m", "logits $z_1$"),
         ("2", "m", "logits $z_2$"), ("3", "m", "logits $z_3$")],
    ),
    "downwards": (
        {"a": ("generation 0", 0, 0), "b": ("generation 1", 0, 1), "c": ("generation 2", 0, 2)},
        [("a", "b", "soft targets of the one before"), ("b", "c", "soft targets")],
    ),
}  # fmt: skip


def extents(figure):
    """Boxes, texts of boxes, labels: gid or key -> extent in pixels."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    axes = figure.axes[0]
    boxes = [p.get_window_extent(renderer) for p in axes.patches if isinstance(p, FancyBboxPatch)]
    texts, labels = {}, {}
    for text in axes.texts:
        text.set_bbox(None)
        kind, _, key = text.get_gid().partition(":")
        (texts if kind == "box" else labels)[key] = text.get_window_extent(renderer)
    return boxes, texts, labels


@pytest.mark.parametrize("name", CASES)
def test_nothing_overlaps_and_nothing_is_cut(name):
    nodes, arrows = CASES[name]
    figure = figures.schematic(nodes, arrows)
    boxes, texts, labels = extents(figure)
    assert len(boxes) == len(texts) == len(nodes)
    assert len(labels) == sum(len(arrow) > 2 for arrow in arrows)
    for box, text in zip(boxes, texts.values(), strict=True):
        assert box.x0 < text.x0 and text.x1 < box.x1 and box.y0 < text.y0 and text.y1 < box.y1
    for one, other in combinations([*boxes, *labels.values()], 2):
        assert not one.overlaps(other)
    for one in [*boxes, *labels.values()]:
        assert one.x0 >= 0 and one.y0 >= 0
        assert one.x1 <= figure.bbox.width and one.y1 <= figure.bbox.height


def test_rows_go_down_and_columns_to_the_right():
    _, texts, _ = extents(figures.schematic(*CASES["offline"]))
    assert texts["x"].x1 < texts["t"].x0 and texts["t"].x1 < texts["l"].x0
    assert texts["t"].y0 > texts["x"].y0 > texts["s"].y0


def test_arrows_end_at_their_boxes_and_back_flow_is_dashed():
    figure = figures.schematic(*CASES["offline"])
    arrows = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) == 5
    assert [arrow.get_linestyle() != "-" for arrow in arrows] == [False] * 4 + [True]
    boxes = [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    assert arrows[2].patchA is boxes[1] and arrows[2].patchB is boxes[3]


def test_a_long_text_widens_the_figure_and_keeps_its_size():
    short = figures.schematic({"a": ("a", 0, 0), "b": ("b", 1, 0)}, [("a", "b")])
    long = figures.schematic({"a": ("a" * 40, 0, 0), "b": ("b", 1, 0)}, [("a", "b")])
    assert long.get_figwidth() > short.get_figwidth() + 2
    assert {t.get_fontsize() for t in long.axes[0].texts} == {
        t.get_fontsize() for t in short.axes[0].texts
    }


@pytest.mark.parametrize(
    ("nodes", "arrows", "message"),
    [
        ({"a": ("a", 0)}, [], "node 'a' must be"),
        ({"a": ("a", 0, 0, "pupil")}, [], "unknown role 'pupil'"),
        ({"a": ("a", 0, 0)}, [("a", "b")], "an arrow names 'b'"),
        ({"a": ("a", 0, 0), "b": ("b", 0, 0)}, [], "'a' and 'b' are in one place"),
        ({"a": ("a", 0, 0), "b": ("b", 1, 0)}, [("a", "b", "", ":")], "'-' or '--'"),
    ],
)
def test_mistakes_are_named(nodes, arrows, message):
    with pytest.raises(ValueError, match=message):
        figures.schematic(nodes, arrows)
