"""Small diagrams: labelled boxes in a grid, labelled arrows between them, roles by colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text

from kdnb.figures.theme import GREY, ROLES

SIZE, SMALL = 11, 10  # points: the texts of boxes and of arrows
PAD = 0.11  # inches between a box's text and its border
GAP, BETWEEN = 0.55, 0.42  # least inches between columns, between rows
MARGIN = 0.12

Node = tuple[str, float, float] | tuple[str, float, float, str]
Arrow = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str]


def schematic(nodes: Mapping[str, Node], arrows: Sequence[Arrow]) -> Figure:
    """A diagram of boxes and arrows; sizes follow from the texts, so that none is cut or covered.

        schematic(
            {"x": ("images $x$", 0, 0.5, "other"),
             "teacher": ("teacher", 1, 0, "teacher"), "student": ("student", 1, 1, "student"),
             "loss": ("distillation loss", 2, 0.5, "method")},
            [("x", "teacher"), ("x", "student"), ("teacher", "loss", "soft targets"),
             ("student", "loss", "answers"), ("loss", "student", "gradient", "--")],
        )

    Args:
        nodes: key -> (text, column, row, role). Columns count from the left, rows from the top,
            both from 0; halves lie between. The role gives the colour: `teacher`, `student`,
            `method` (what is optimised) or `other` (the default: data).
        arrows: (from, to, label, line) by keys; the label and the line may be left out. A line is
            `-` or `--`, for what flows back, such as a gradient.

    Raises:
        ValueError: for an unknown role or key, or two boxes in one place.
    """
    boxes = {key: _node(key, node) for key, node in nodes.items()}
    links = [_arrow(arrow, boxes) for arrow in arrows]
    figure = plt.figure(layout="none")
    sizes = {key: _size(figure, text, SIZE, PAD) for key, (text, *_) in boxes.items()}
    labels = [_size(figure, link[2], SMALL, 0.03) for link in links]
    across = _places(boxes, sizes, links, labels, 0, GAP)
    down = _places(boxes, sizes, links, labels, 1, BETWEEN)
    centres = {k: np.array([across[b[1]], down[b[2]]]) for k, b in boxes.items()}
    width = max(centres[k][0] + sizes[k][0] / 2 for k in boxes) + MARGIN
    height = max(centres[k][1] + sizes[k][1] / 2 for k in boxes) + MARGIN
    figure.set_size_inches(width, height)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))  # in inches
    axes.axis("off")
    patches = {}
    for key, (text, _, _, role) in boxes.items():
        (x, y), (w, h) = centres[key], sizes[key]
        patches[key] = axes.add_patch(FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=0.07", lw=1.3,
            fc=_tint(ROLES[role]), ec=ROLES[role], zorder=2,
        ))  # fmt: skip
        axes.text(x, y, text, fontsize=SIZE, ha="center", va="center", zorder=3, gid=f"box:{key}")
    taken: list[tuple[np.ndarray, np.ndarray]] = [(centres[k], np.array(sizes[k])) for k in boxes]
    pairs = {(start, end) for start, end, *_ in links}
    for (start, end, text, line), size in zip(links, labels, strict=True):
        bend = 0.22 if (end, start) in pairs else 0.0
        axes.add_patch(FancyArrowPatch(
            tuple(centres[start]), tuple(centres[end]), patchA=patches[start], patchB=patches[end],
            connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=13, lw=1.5,
            shrinkA=1, shrinkB=2, color=GREY, ls=(0, (4, 2.5)) if line == "--" else "-", zorder=1,
        ))  # fmt: skip
        if text:
            place = _free(centres[start], centres[end], bend, np.array(size), taken)
            taken.append((place, np.array(size)))
            axes.text(
                *place, text, fontsize=SMALL, color="#404040", ha="center", va="center", zorder=4,
                gid=f"arrow:{start}:{end}",
                bbox={"boxstyle": "square,pad=0.12", "fc": "white", "ec": "none"},
            )  # fmt: skip
    return figure


def teacher_student(knowledge: str = "soft targets") -> Figure:
    """Offline distillation: a frozen teacher, a student, and the two losses."""
    return schematic(
        {
            "x": ("images\n$x$", 0, 0.5),
            "teacher": ("teacher\n(trained, frozen)", 1, 0, "teacher"),
            "student": ("student\n(to be trained)", 1, 1, "student"),
            "p": (f"softmax$(v/T)$\n{knowledge}", 2, 0, "teacher"),
            "q": ("softmax$(z/T)$", 2, 1, "student"),
            "q1": ("softmax$(z)$", 2, 1.8, "student"),
            "soft": ("distillation loss\n" + r"$T^2\,\mathrm{KL}$", 3, 0.5, "method"),
            "hard": ("student loss\ncross-entropy with $y$", 3, 1.8, "method"),
        },
        [("x", "teacher"), ("x", "student"), ("teacher", "p", "logits $v$"),
         ("student", "q", "logits $z$"), ("student", "q1"), ("p", "soft"), ("q", "soft"),
         ("q1", "hard")],
    )  # fmt: skip


def _node(key: str, node: Node) -> tuple[str, float, float, str]:
    if not 3 <= len(node) <= 4:
        raise ValueError(f"node {key!r} must be (text, column, row, role); got {node!r}.")
    text, column, row, role = (*node, "other")[:4]
    if role not in ROLES:
        raise ValueError(
            f"node {key!r} has the unknown role {role!r}: there are {', '.join(ROLES)}."
        )
    return text, float(column), float(row), role


def _arrow(arrow: Arrow, boxes: Mapping[str, object]) -> tuple[str, str, str, str]:
    if not 2 <= len(arrow) <= 4:
        raise ValueError(f"an arrow must be (from, to, label, line); got {arrow!r}.")
    for key in arrow[:2]:
        if key not in boxes:
            raise ValueError(f"an arrow names {key!r}: the nodes are {', '.join(boxes)}.")
    start, end, label, line = (
        arrow if len(arrow) == 4 else (*arrow, "-") if len(arrow) == 3 else (*arrow, "", "-")
    )
    if line not in ("-", "--"):
        raise ValueError(f"an arrow's line is '-' or '--'; got {line!r}.")
    return start, end, label, line


def _size(figure: Figure, text: str, points: float, pad: float) -> tuple[float, float]:
    """Width and height in inches of a text with a margin; 0 for none."""
    if not text:
        return 0.0, 0.0
    extent = Text(0, 0, text, fontsize=points, figure=figure).get_window_extent(
        figure.canvas.get_renderer()
    )
    return extent.width / figure.dpi + 2 * pad, extent.height / figure.dpi + 2 * pad


def _places(
    boxes: Mapping[str, tuple], sizes: Mapping[str, tuple], links: Sequence[tuple],
    labels: Sequence[tuple], side: int, least: float,
) -> dict[float, float]:  # fmt: skip
    """Inches of every column (side 0) or row (side 1), such that boxes and labels have room."""
    marks = sorted({box[1 + side] for box in boxes.values()})
    half = {m: max(sizes[k][side] for k, b in boxes.items() if b[1 + side] == m) / 2 for m in marks}
    at = {marks[0]: half[marks[0]] + MARGIN}
    for i, mark in enumerate(marks[1:], 1):
        candidates = [at[marks[i - 1]] + 0.2]
        for before in marks[:i]:
            if not _meet(boxes, side, before, mark):
                continue
            gap = least
            for (start, end, text, _), size in zip(links, labels, strict=True):
                ends = {boxes[start][1 + side], boxes[end][1 + side]}
                if text and ends == {before, mark}:
                    gap = max(gap, size[side] + (0.5 if side == 0 else 0.34))
            candidates.append(at[before] + half[before] + gap + half[mark])
        at[mark] = max(candidates)
    return at


def _meet(boxes: Mapping[str, tuple], side: int, before: float, mark: float) -> bool:
    """Whether boxes of these two columns (rows) could touch: closer than one in the other way."""
    other = 2 - side
    first = [b[other] for b in boxes.values() if b[1 + side] == before]
    second = [b[other] for b in boxes.values() if b[1 + side] == mark]
    return mark - before >= 1 or any(abs(a - b) < 1 for a in first for b in second)


def _free(
    start: np.ndarray, end: np.ndarray, bend: float, size: np.ndarray,
    taken: Sequence[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:  # fmt: skip
    """The place along an arrow, nearest to its middle, where a label covers nothing."""
    way = end - start
    control = (start + end) / 2 + bend * np.array([way[1], -way[0]])
    best, least = (start + end) / 2, np.inf
    for t in 0.5 + np.array([0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6]) * 0.05:
        place = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
        covered = sum(
            float(np.prod(np.clip((size + other) / 2 - np.abs(place - centre), 0, None)))
            for centre, other in taken
        )
        if covered < least - 1e-9:
            best, least = place, covered
    return best


def _tint(colour: str) -> tuple[float, ...]:
    return tuple(1 - 0.22 * (1 - part) for part in to_rgb(colour))
