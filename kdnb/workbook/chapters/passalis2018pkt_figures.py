"""Figures of chapter 2-3: batches as geometry, before and after a student is taught."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor
from torch.nn import functional as F

from kdnb import figures
from kdnb.data import Images

NEAREST = 10  # images shown for a query


def schematic() -> Figure:
    """Two networks place one batch in two spaces; what is compared is the table of relations."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.8, 2.9), width_ratios=[1, 1.5, 1])
    teacher = np.array([[0.1, 0.75], [0.35, 1.0], [0.15, 0.15], [0.95, 0.35], [0.8, 0.05]])
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    goal = 0.8 * (teacher - 0.5) @ turn
    student = goal.copy()
    student[1] = goal[1] + (0.55, -0.35)
    titles = ("teacher's space", "student's space")
    for axes, points, title in ((left, teacher, titles[0]), (right, student, titles[1])):
        for i in range(5):
            for j in range(i):
                axes.plot(*points[[i, j]].T, color=figures.LIGHT, lw=1, zorder=1)
        axes.scatter(*points.T, s=170, color=figures.BLUE if axes is left else figures.ORANGE)
        for number, point in enumerate(points, 1):
            axes.text(*point, str(number), color="white", ha="center", va="center", fontsize=9)
        axes.set_title(title)
        axes.margins(0.2)
        axes.axis("equal")
        axes.axis("off")
    arrow = {"arrowstyle": "-|>", "color": figures.RED, "lw": 1.6, "shrinkA": 8}
    right.annotate("", goal[1], student[1], arrowprops=arrow)
    middle.axis("off")
    middle.set_title("how the samples of the batch relate")
    for place, points, name in ((0.04, teacher, "teacher"), (0.6, student, "student")):
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
        inset = middle.inset_axes((place, 0.2, 0.4, 0.6))
        inset.imshow(gaps / gaps.mean(), cmap="cividis", vmin=0, vmax=2)
        inset.set_xticks(range(5), range(1, 6))
        inset.set_yticks(range(5), range(1, 6) if points is teacher else [""] * 5)
        inset.tick_params(length=0)
        inset.set_title(name, fontsize=9, color=figures.GREY)
        inset.grid(False)
    middle.text(
        0.52, 0.5, "?\n=", ha="center", va="center", fontsize=13, transform=middle.transAxes
    )
    middle.text(0.5, 0.05, "distance / mean distance (dark: near)", ha="center", fontsize=9,
                transform=middle.transAxes)  # fmt: skip
    return figure


# --- retrieval -----------------------------------------------------------------------------------


def ranked(queries: Tensor, database: Tensor) -> Tensor:
    """(queries, NEAREST) places of the database's images whose embeddings point most alike."""
    return (F.normalize(queries) @ F.normalize(database).T).topk(NEAREST).indices


def nearest(
    asked: Images, database: Images, found: Mapping[str, Tensor], queries: Sequence[int]
) -> Figure:
    """Queries and their nearest images by several networks: one row a query and network.

    Args:
        found: for each network `ranked` of all of `asked`.
        queries: places in `asked`.
    """
    rows = [(query, name) for query in queries for name in found]
    figure, grid = plt.subplots(
        len(rows), NEAREST + 1, figsize=(8.8, 0.86 * len(rows) + 0.35), squeeze=False,
        width_ratios=[1.25] + [1] * NEAREST,
    )  # fmt: skip
    for line, (query, name) in zip(grid, rows, strict=True):
        _picture(line[0], asked.images[query])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
        for axes, place in zip(line[1:], found[name][query].tolist(), strict=True):
            right = bool(database.labels[place] == asked.labels[query])
            _picture(axes, database.images[place], figures.BLUE if right else figures.ORANGE, right)
    grid[0, 0].set_title("query")
    for rank, axes in enumerate(grid[0, 1:], 1):
        axes.set_title(str(rank))
    return figure


def _picture(axes: plt.Axes, image: Tensor, colour: str = figures.GREY, solid: bool = True) -> None:
    axes.imshow(np.asarray(image).transpose(1, 2, 0).squeeze(), cmap="gray_r")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(
            visible=True, color=colour, linewidth=2.2, linestyle="-" if solid else (0, (1.5, 1.5))
        )


def explorer(asked: Images, database: Images, found: Mapping[str, Tensor]) -> ipywidgets.Widget:
    """Choose a query and two networks; see what each finds."""
    names = list(found)
    query = ipywidgets.IntSlider(
        value=0, min=0, max=len(asked) - 1, description="query", continuous_update=False
    )
    one = ipywidgets.Dropdown(options=names, value=names[0], description="network")
    other = ipywidgets.Dropdown(options=names, value=names[-1], description="against")

    picture = ipywidgets.Image(format="png")

    def draw(_: object = None) -> None:
        chosen = {name: found[name] for name in (one.value, other.value)}
        figure, buffer = nearest(asked, database, chosen, [query.value]), io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        picture.value = buffer.getvalue()

    for control in (query, one, other):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([query, one, other]), picture])


# --- the geometry of a batch ---------------------------------------------------------------------


def sample_by_class(images: Images, each: int) -> Images:
    """The first `each` images of every class, sorted by class."""
    places = [torch.nonzero(images.labels == c)[:each, 0] for c in images.labels.unique()]
    return images.select(torch.cat(places))


def matrices(
    relations: Mapping[str, Tensor], labels: Tensor, classes: Sequence[str], unit: str
) -> Figure:
    """(batch, batch) relations sorted by class, one panel each, on one scale without the diagonal."""
    ends = [i + 1 for i in range(len(labels) - 1) if labels[i] != labels[i + 1]]
    middles = np.convolve([0, *ends, len(labels)], [0.5, 0.5], mode="valid")
    shown = {}
    for title, matrix in relations.items():
        shown[title] = pd.DataFrame(matrix.numpy().copy()).astype(float)
        shown[title] = shown[title].mask(np.eye(len(labels), dtype=bool))
    figure = figures.heat(shown, unit, cells=False)
    for axes in figure.axes[: len(shown)]:
        axes.hlines(ends, 0, len(labels), color="white", lw=0.6)
        axes.vlines(ends, 0, len(labels), color="white", lw=0.6)
        axes.set(xticks=[], xlabel="images, in the same order")
        axes.set_yticks(middles, classes)
    return figure


def relative_distances(samples: Tensor) -> Tensor:
    """Distances of all pairs, each once, over their mean: what RKD compares."""
    distances = torch.pdist(samples.float())
    return distances / distances.mean()


def angles(samples: Tensor, count: int = 1500) -> Tensor:
    """Angles in degrees at the middle sample of `count` random triples, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    triples = torch.stack(
        [torch.randperm(len(samples), generator=generator)[:3] for _ in range(count)]
    )
    first, middle, last = samples.float()[triples].unbind(1)
    cosine = F.cosine_similarity(first - middle, last - middle)
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


def distances_and_angles(teacher: Tensor, before: Tensor, after: Tensor) -> Figure:
    """Relative distances as scatter and histogram, and angles, of two students against the teacher."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.8, 3.1))
    students = (("before", before, figures.ORANGE), ("after", after, figures.BLUE))
    goal, corner = relative_distances(teacher), angles(teacher)
    span = [0.0, 1.05 * float(goal.max())]
    bins = np.linspace(0, 2, 41)
    middle.hist(
        goal.numpy(), bins, histtype="step", color=figures.GREY, lw=1.6, ls="--", label="teacher"
    )
    for name, samples, colour in students:
        ours = relative_distances(samples)
        left.plot(goal[::3], ours[::3], ".", ms=2, alpha=0.5, color=colour, label=name)
        middle.hist(ours.numpy(), bins, histtype="step", color=colour, lw=1.6, label=name)
        right.plot(corner, angles(samples), ".", ms=2, alpha=0.5, color=colour, label=name)
    left.plot(span, span, color=figures.GREY, lw=1)
    right.plot([0, 180], [0, 180], color=figures.GREY, lw=1)
    left.set(xlabel="teacher: distance / mean", ylabel="student: distance / mean", title="pairs")
    middle.set(xlabel="distance / mean", ylabel="pairs", title="all distances")
    right.set(xlabel="teacher: angle, degrees", ylabel="student: angle, degrees", title="triples")
    right.set_xticks([0, 60, 120, 180])
    right.set_yticks([0, 60, 120, 180])
    middle.legend(fontsize=8)
    left.legend(markerscale=5, fontsize=8)
    return figure


def flows(relations: Mapping[str, Tensor]) -> Figure:
    """FSP matrices (channels, channels), the mean over some images, on one scale."""
    shown = {
        title: pd.DataFrame(matrix.numpy())
        .rename_axis(index="channel of stage 1", columns="channel of stage 2")
        for title, matrix in relations.items()
    }  # fmt: skip
    return figures.heat(shown, "$G$", cells=False)


def layout(samples: Tensor) -> np.ndarray:
    """(batch, 2): the plane in which distances are kept best, by classical scaling."""
    squares = torch.cdist(samples.double(), samples.double()).square().numpy()
    centre = np.eye(len(squares)) - 1 / len(squares)
    values, vectors = np.linalg.eigh(-centre @ squares @ centre / 2)
    return vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))


def turned(points: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Points rotated, mirrored and scaled as near as they come to others, both centred."""
    left, sizes, right = np.linalg.svd(points.T @ goal)
    return points @ left @ right * sizes.sum() / np.square(points).sum()


def instance_graphs(images: Images, embeddings: Mapping[str, Tensor], edges: int = 2) -> Figure:
    """Samples in the plane, each joined to its nearest ones; the first network sets the pose."""
    figure, grid = plt.subplots(1, len(embeddings), figsize=(8.8, 3.2))
    cycle = [figures.BLUE, figures.ORANGE, figures.GREEN, figures.RED, figures.PURPLE]
    colours = dict(zip(images.labels.unique().tolist(), cycle, strict=False))
    pose = None
    for axes, (title, samples) in zip(grid, embeddings.items(), strict=True):
        points = layout(samples)
        pose = points if pose is None else pose
        points = turned(points, pose)
        distances = torch.cdist(samples.float(), samples.float()).fill_diagonal_(float("inf"))
        for i, others in enumerate(distances.topk(edges, largest=False).indices.tolist()):
            for j in others:
                axes.plot(*points[[i, j]].T, color=figures.GREY, lw=1.1, zorder=1)
        for point, picture, label in zip(
            points, images.images, images.labels.tolist(), strict=True
        ):
            thumb = OffsetImage(np.asarray(picture).transpose(1, 2, 0), zoom=0.75)
            frame = {"edgecolor": colours[label], "lw": 2}
            axes.add_artist(AnnotationBbox(thumb, point, pad=0.12, bboxprops=frame))
        axes.scatter(*points.T, s=0)
        axes.margins(0.16)
        axes.set(title=title, xticks=[], yticks=[])
        axes.grid(False)
    return figure


def scores(pairs: Mapping[str, tuple[Tensor, Tensor]], labels: Tensor) -> Figure:
    """Cosines of students' and teachers' projections: the same image, and images of other classes."""
    figure, grid = plt.subplots(1, len(pairs), figsize=(8.8, 2.6), sharey=True, sharex=True)
    others = labels[:, None] != labels[None]
    bins = np.linspace(-1, 1, 51)
    for axes, (title, (student, teacher)) in zip(grid, pairs.items(), strict=True):
        cosine = F.normalize(student) @ F.normalize(teacher).T
        for name, values, colour, line in (
            ("another class", cosine[others], figures.ORANGE, "--"),
            ("the same image", cosine.diagonal(), figures.BLUE, "-"),
        ):
            axes.hist(values.numpy(), bins, density=True, histtype="step", color=colour, lw=1.8, ls=line,
                      label=name)  # fmt: skip
        axes.set(title=title, xlabel="cosine of the two projections", xticks=(-1, -0.5, 0, 0.5, 1))
    grid[0].set_ylabel("density")
    grid[0].legend(loc="upper left", fontsize=8)
    return figure
