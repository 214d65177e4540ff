"""A few images, a small student and a recipe that fits them: a setting for first experiments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from kdnb import data, nets
from kdnb.data import Images, as_batches
from kdnb.losses.checks import check_number
from kdnb.names import nearest
from kdnb.training.recipe import Recipe, recipe_for

# Data set -> the trained network, shipped with the workbook, that is its teacher.
TEACHERS = {"mnist": "lenet5", "fashion_mnist": "lenet5", "cifar10": "resnet20"}


@dataclass(frozen=True)
class Toy:
    """A small setting, ready to use: `kdnb.distil(toy.student(0), toy.teacher, toy.train, toy.recipe)`.

    Attributes:
        train: a few labelled images.
        held_out: images that are not used for training.
        student: seed -> a new network with the initial weights of that seed.
        teacher: a trained network that saw many more images, in eval mode; None if there is none.
        recipe: trains the student to zero errors on its training images.
        name: the name of the setting, for tables and figures.
    """

    train: Any
    held_out: Any
    student: Callable[[int], nn.Module]
    teacher: nn.Module | None
    recipe: Recipe
    name: str = "a setting of one's own"

    def __post_init__(self) -> None:
        if not isinstance(self.recipe, Recipe):
            raise TypeError(
                f"recipe is a kdnb.Recipe, such as Recipe(epochs=40, lr=0.05); got a "
                f"{type(self.recipe).__name__}."
            )
        if isinstance(self.student, nn.Module) or not callable(self.student):
            raise TypeError(
                f"student makes a network of a seed; got a {type(self.student).__name__}."
            )

    def __repr__(self) -> str:
        taught = type(self.teacher).__name__ if self.teacher is not None else "no teacher"
        return (
            f"Toy {self.name}: {_samples(self.train)} training and {_samples(self.held_out)} held-out "
            f"images, taught by {taught}, {self.recipe.epochs} epochs"
        )


def _samples(source: Any) -> int:
    """The number of samples in data of any form."""
    return (
        len(source) if isinstance(source, Images) else as_batches(source, 1, labels="none").examples
    )


def toy(
    dataset: str = "mnist",
    images: int = 200,
    *,
    network: str = "tiny",
    teacher: str | None = "default",
    epochs: int = 40,
) -> Toy:
    """A few images of a data set, a small student, a recipe that fits them, a trained teacher.

    The held-out images are the test set. The training images are balanced over classes, to
    within one; the images of a smaller `images` are a subset of those of a larger one.

    Args:
        dataset: `mnist`, `fashion_mnist` or `cifar10`.
        images: number of training images.
        network: the student's name, see `kdnb.nets.build`.
        teacher: the name of a network that comes trained (`kdnb.nets.pretrained_names()`); None
            for a setting without one.
        epochs: epochs of the recipe; with 40 the default students make no training errors on 100 to 2,000
            images.

    Raises:
        ValueError: for another data set, more images than it has, or a teacher without a trained
            checkpoint.

    >>> few = toy("mnist", images=100)
    >>> len(few.train), few.train.labels.bincount().tolist() == [10] * 10
    (100, True)
    """
    check_number(least=1, whole=True, images=images)
    if not isinstance(dataset, str) or dataset not in TEACHERS:
        raise ValueError(f"there is no toy of {dataset!r} ({nearest(dataset, TEACHERS)}).")
    source = data.load(dataset)
    master = None
    if teacher is not None:
        master = nets.pretrained(TEACHERS[dataset] if teacher == "default" else teacher, dataset)
    fields = {"epochs": epochs, "batch_size": max(1, min(64, images // 4)), "lr": 0.05}
    fields |= {"nesterov": True, "weight_decay": 5e-4, "schedule": "one_cycle"}
    recipe = recipe_for(None, fields)
    return Toy(
        train=balanced(source.train_all, images),
        held_out=source.test,
        student=partial(_student, source, network),
        teacher=master,
        recipe=recipe,
        name=f"{images} images of {source.name}",
    )


def balanced(source: Images, count: int) -> Images:
    """The first `count` images of a set, balanced over classes to within one.

    Raises:
        ValueError: if a class has too few.
    """
    classes = int(source.labels.max()) + 1
    if count < 1:
        raise ValueError(f"images must be at least 1; got {count}.")
    order = torch.argsort(source.labels, stable=True)
    sizes = source.labels.bincount(minlength=classes)
    starts = sizes.cumsum(0) - sizes
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(source)) - starts.repeat_interleave(sizes)
    # The first image of every class, then the second, ...
    turn = torch.argsort(rank * classes + source.labels)[:count]
    most = -(-count // classes)
    if count > len(source) or most > int(sizes.min()):
        raise ValueError(
            f"{count} images of {classes} classes need {most} of each, and the smallest class has "
            f"{int(sizes.min())}: ask for {classes * int(sizes.min())} at most."
        )
    return source.select(turn)


def _student(source: data.ImageData, name: str, seed: int) -> nn.Module:
    images = source.train.images
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nets.build(
            name, num_classes=len(source.classes), in_channels=images.shape[1],
            image_size=images.shape[-1],
        )  # fmt: skip
