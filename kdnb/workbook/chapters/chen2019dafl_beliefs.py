"""Belief matching in chapter 5-6: walks from class to class, and pictures of both ways to see it."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from kdnb import figures
from kdnb.data import ImageData
from kdnb.methods.data_free import transition_curves
from kdnb.runs.task import network_of
from kdnb.runs.trials import Result
from kdnb.training.inputs import in_order


def walks(
    teacher: Result,
    students: Mapping[str, Result],
    source: ImageData,
    count: int = 6,
    steps: int = 25,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Transition curves of some students over the same images, which all of them get right.

    Args:
        teacher: the trial that trained it.
        students: title -> the trial that trained it.
        count: images at most.
        steps: of each walk, with rate 1.

    Returns:
        Title -> (the student's curves, the teacher's), (images, classes - 1, steps) each.
    """
    master = network_of(teacher)
    pupils = {title: network_of(result) for title, result in students.items()}
    tested = in_order(source.test.select(slice(250)), source, torch.device("cpu"))
    batch = next(tested.epoch(0))
    with torch.no_grad():
        rights = [net(batch.images).argmax(1) == batch.labels for net in (master, *pupils.values())]
    kept = torch.stack(rights).all(0).nonzero()[:count, 0]
    images, labels = batch.images[kept], batch.labels[kept]
    return {
        title: transition_curves(net, master, images, labels, steps=steps)
        for title, net in pupils.items()
    }


def transitions(curves: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Belief in the class walked to: the student's and the teacher's, means and quartiles."""
    figure, grid = plt.subplots(1, len(curves), figsize=(8.8, 2.8), sharey=True)
    for axes, (title, (ours, theirs)) in zip(grid, curves.items(), strict=True):
        error = float((ours - theirs).abs().mean())
        for values, name, colour in (
            (ours, "student", figures.ORANGE), (theirs, "teacher", figures.BLUE),
        ):  # fmt: skip
            flat = values.flatten(0, 1)
            low, high = flat.quantile(torch.tensor([0.25, 0.75]), 0).numpy()
            steps = np.arange(flat.shape[1])
            axes.plot(steps, flat.mean(0).numpy(), color=colour, label=name)
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)
        axes.set(
            title=f"{title}: error {error:.3f}", xlabel="steps of the walk", ylim=(-0.02, 1.02)
        )
    grid[0].set_ylabel("probability of the new class")
    grid[-1].legend(loc="upper left")
    return figure


def plane(result: Result) -> Figure:
    """ZSKT in the plane: the teacher, the student before and after, and the pseudo points."""
    held = {name: tensor.numpy() for name, tensor in result.tensors().items()}
    figure, grid = plt.subplots(1, 4, figsize=(8.8, 2.6), width_ratios=(1, 1, 1, 1.15))
    panels = (("teacher", "teacher and its data"), ("before", "student before"),
              ("after", "student after"))  # fmt: skip
    for axes, (name, title) in zip(grid, panels, strict=False):
        axes.imshow(held[name], origin="lower", extent=(-3, 3, -3, 3), cmap="RdBu_r", vmin=0,
                    vmax=1, alpha=0.75)  # fmt: skip
        axes.set(title=title, xticks=(-3, 0, 3), yticks=(-3, 0, 3))
        axes.grid(False)
    points, labels = held["points"], held["labels"]
    for label, colour in ((0, figures.BLUE), (1, figures.RED)):
        grid[0].plot(*points[labels == label].T, ".", color=colour, ms=3)
    grid[2].plot(*held["pseudo"].T, "o", color="black", mfc="white", ms=3.5)
    rounds = 1 + np.arange(len(result.series["soft"]))
    grid[3].plot(rounds, -np.array(result.series["adversarial"]), color=figures.RED, label="points")
    grid[3].plot(rounds, result.series["soft"], "--", color=figures.BLUE, label="student")
    grid[3].set(xlabel="round", title="divergence, nats", ylim=(0, None))
    grid[3].legend()
    return figure
