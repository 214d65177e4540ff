"""Small diagrams: labelled boxes in a grid, labelled arrows between them, colours by role."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text
from scipy.optimize import linprog

from kdnb.figures.theme import GREY, ROLES

SIZE, SMALL = 11, 10  # font sizes in points: boxes, arrows
PAD = 0.11  # inches between a box's text and its border
LEAST = (0.55, 0.42)  # inches between neighbours: columns, rows
AROUND = (0.5, 0.4)  # inches of an arrow that its label leaves free
MARGIN = 0.12

Node = tuple[str, float, float] | tuple[str, float, float, str]
Arrow = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str]


def schematic(nodes: Mapping[str, Node], arrows: Sequence[Arrow]) -> Figure:
    """A diagram of boxes and arrows, sized by its texts so that none is cut or covered.

        schematic(
            {"x": ("images $x$", 0, 0.5, "other"),
             "teacher": ("teacher", 1, 0, "teacher"), "student": ("student", 1, 1, "student"),
             "loss": ("distillation loss", 2, 0.5, "method")},
            [("x", "teacher"), ("x", "student"), ("teacher", "loss", "soft targets"),
             ("student", "loss", "answers"), ("loss", "student", "gradient", "--")],
        )

    Args:
        nodes: key -> (text, column, row, role). Columns count from the left, rows from the top,
            both from 0; halves are in between. The role gives the colour: `teacher`, `student`,
            `method` (what is optimised) or `other` (the default: data).
        arrows: (from, to, label, line) by keys; label and line are optional. A line is
            `-`, or `--` for something that flows back, such as a gradient.

    Raises:
        ValueError: for an unknown role or key, or two boxes in the same position.
    """
    boxes = {key: _node(key, node) for key, node in nodes.items()}
    for (one, first), (other, second) in itertools.combinations(boxes.items(), 2):
        if first[1:3] == second[1:3]:
            raise ValueError(f"nodes {one!r} and {other!r} are in one place.")
    links = [_arrow(arrow, boxes) for arrow in arrows]
    figure = plt.figure(layout="none")
    sizes = {key: _size(figure, text, SIZE, PAD) for key, (text, *_) in boxes.items()}
    labels = [_size(figure, text, SMALL, 0.04) for _, _, text, _ in links]
    columns = _places(boxes, sizes, links, labels, 0)
    rows = _places(boxes, sizes, links, labels, 1)
    centres = {key: np.array([columns[box[1]], rows[box[2]]]) for key, box in boxes.items()}
    bends = [
        _bend(centres[start], centres[end])
        if any((end, start) == link[:2] for link in links)
        else 0
        for start, end, *_ in links
    ]
    curves = [
        _curve(centres[start], centres[end], bend)
        for (start, end, *_), bend in zip(links, bends, strict=True)
    ]
    filled = [(centres[key], sizes[key]) for key in boxes]
    texts = []
    for number, ((start, end, text, _), size) in enumerate(zip(links, labels, strict=True)):
        if text:
            others = np.concatenate(
                [c for i, c in enumerate(curves) if i != number] or [[[-9, -9]]]
            )
            ends = [(centres[start], sizes[start]), (centres[end], sizes[end])]
            place = _label(curves[number], ends, bends[number], size, filled, others)
            filled.append((place, size))
            texts.append((place, text, f"arrow:{start}:{end}"))
    low = np.min([centre - size / 2 for centre, size in filled], axis=0) - MARGIN
    high = np.max([centre + size / 2 for centre, size in filled], axis=0) + MARGIN
    figure.set_size_inches(*(high - low))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(low[0], high[0]), ylim=(high[1], low[1]))  # inches
    axes.axis("off")
    patches = {}
    for key, (text, _, _, role) in boxes.items():
        patches[key] = axes.add_patch(
            FancyBboxPatch(
                centres[key] - sizes[key] / 2, *sizes[key], lw=1.3, zorder=2,
                boxstyle="round,pad=0,rounding_size=0.07", fc=_tint(ROLES[role]), ec=ROLES[role],
            )
        )  # fmt: skip
        look = {"fontsize": SIZE, "ha": "center", "va": "center", "zorder": 3}
        axes.text(*centres[key], text, gid=f"box:{key}", **look)
    for (start, end, _, line), bend in zip(links, bends, strict=True):
        axes.add_patch(
            FancyArrowPatch(
                centres[start], centres[end], patchA=patches[start], patchB=patches[end],
                connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=13, lw=1.5,
                shrinkA=1, shrinkB=2, color=GREY, ls=(0, (4, 2.5)) if line == "--" else "-",
                zorder=1,
            )
        )  # fmt: skip
    for place, text, name in texts:
        axes.text(
            *place, text, gid=name, fontsize=SMALL, color="#404040", ha="center", va="center",
            zorder=4, bbox={"boxstyle": "square,pad=0.12", "fc": "white", "ec": "none"},
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
    start, end, label, line = (*arrow, *("", "-")[len(arrow) - 2 :])
    if line not in ("-", "--"):
        raise ValueError(f"an arrow's line is '-' or '--'; got {line!r}.")
    return start, end, label, line


def _size(figure: Figure, text: str, points: float, pad: float) -> np.ndarray:
    """Width and height in inches of a text with a margin; 0 for none."""
    if not text:
        return np.zeros(2)
    extent = Text(0, 0, text, fontsize=points, figure=figure).get_window_extent(
        figure.canvas.get_renderer()
    )
    return np.array([extent.width, extent.height]) / figure.dpi + 2 * pad


def _places(
    boxes: Mapping[str, tuple[str, float, float, str]], sizes: Mapping[str, np.ndarray],
    links: Sequence[tuple[str, str, str, str]], labels: Sequence[np.ndarray], side: int,
) -> dict[float, float]:  # fmt: skip
    """Positions in inches of columns (side 0) or rows (side 1) that leave room for boxes and labels.

    The narrowest layout that keeps every distance, by a linear program. A fraction lies between its
    two integer neighbours.
    """
    marks = sorted({box[1 + side] for box in boxes.values()})
    place = {mark: i for i, mark in enumerate(marks)}
    needed: dict[tuple[float, float], float] = {}

    def apart(one: str, other: str, gap: float) -> None:
        low, high = sorted((boxes[one][1 + side], boxes[other][1 + side]))
        if low < high:
            inches = gap + (sizes[one][side] + sizes[other][side]) / 2
            needed[low, high] = max(needed.get((low, high), 0.0), inches)

    for one, other in itertools.combinations(boxes, 2):
        if abs(boxes[one][2 - side] - boxes[other][2 - side]) < 1:  # they could touch
            apart(one, other, LEAST[side])
    for (start, end, text, _), size in zip(links, labels, strict=True):
        way = np.abs(np.subtract(boxes[start][1:3], boxes[end][1:3]))
        if text and side == int(way[1] > way[0]):
            apart(start, end, size[side] + AROUND[side])
        if text and side == 0 and way[1] > way[0]:  # the label and these boxes are beside it
            top, bottom = sorted((boxes[start][2], boxes[end][2]))
            for key in boxes:
                if top < boxes[key][2] < bottom:
                    apart(start, key, max(LEAST[0], size[0] + 0.5 - sizes[start][0] / 2))
    for low, high in itertools.pairwise(marks):
        needed.setdefault((low, high), 0.1)
    above = np.zeros((len(needed), len(marks)))
    for row, (low, high) in enumerate(needed):
        above[row, [place[low], place[high]]] = 1, -1
    between = []
    for mark in marks:
        if mark % 1 and {np.floor(mark), np.ceil(mark)} <= set(marks):
            row = np.zeros(len(marks))
            row[[place[np.floor(mark)], place[mark], place[np.ceil(mark)]]] = (
                1 - mark % 1,
                -1,
                mark % 1,
            )
            between.append(row)
    solved = linprog(
        np.ones(len(marks)), A_ub=above, b_ub=[-inches for inches in needed.values()],
        A_eq=np.array(between) if between else None, b_eq=np.zeros(len(between)) if between else None,
    )  # fmt: skip
    return dict(zip(marks, solved.x, strict=True))


def _bend(start: np.ndarray, end: np.ndarray) -> float:
    """The curvature at which two opposite arrows lie about 0.4 inches apart."""
    return float(np.clip(0.42 / np.linalg.norm(end - start), 0.1, 0.5))


def _curve(start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    """Points (101, 2) of the arc that matplotlib draws between two centres."""
    way, t = end - start, np.linspace(0, 1, 101)[:, None]
    control = (start + end) / 2 + bend * np.array([-way[1], way[0]])  # the y axis points down
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end


def _label(
    curve: np.ndarray, ends: Sequence[tuple[np.ndarray, np.ndarray]], bend: float,
    size: np.ndarray, filled: Sequence[tuple[np.ndarray, np.ndarray]], others: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The centre of an arrow's label: near the middle of its visible part, covering nothing.

    It is on an arrow that runs across, and beside one that runs down.

    Args:
        ends: centre and size of the two boxes.
        filled: centre and size of boxes that must not be covered.
        others: points of the other arrows, which should not be covered.
    """
    outside = [(np.abs(curve - centre) > box / 2).any(axis=1) for centre, box in ends]
    seen = np.flatnonzero(outside[0] & outside[1])
    middle = int(seen.mean()) if len(seen) else 50
    way, sides = curve[-1] - curve[0], np.zeros((1, 2))
    if abs(way[1]) > abs(way[0]):
        beside = np.array([size[0] / 2 + 0.06, 0])
        out = np.sign((curve[50] - (curve[0] + curve[-1]) / 2)[0])
        sides = np.array([out * beside]) if bend else np.array([beside, -beside])
    best, least = curve[middle] + sides[0], np.inf
    for step in (0, *(sign * by for by in range(3, 31, 3) for sign in (1, -1))):
        for shift in sides:
            place = curve[int(np.clip(middle + step, 0, 100))] + shift
            covered = sum(
                float(np.prod(np.clip((size + taken) / 2 - np.abs(place - centre), 0, None)))
                for centre, taken in filled
            )
            crossed = (np.abs(others - place) < size / 2).all(axis=1).sum()
            cost = 10 * covered + 0.005 * crossed + 0.0005 * abs(step)
            if cost < least:
                best, least = place, cost
    return best


def _tint(colour: str) -> tuple[float, ...]:
    return tuple(1 - 0.22 * (1 - part) for part in to_rgb(colour))
