"""How the cost grows: of each loss on logits with the classes, of an epoch with the images.

The losses' own names and settings are those of section 2.1. Time of a forward and backward pass at
10, 100, 1,000 and 10,000 classes, batch 64, float32; linear growth is the least that can be asked,
so the last step, ten times the classes, may cost thirteen times as much.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import (
    Measured,
    in_turns,
    ratio,
    seconds,
)
from kdnb import data, losses, nets
from kdnb.data import Batches, Images
from kdnb.methods.offline import distil
from kdnb.training import Recipe

BATCH, CLASSES = 64, (10, 100, 1000, 10_000)
SIZES = (2_000, 50_000)  # images


def logit_losses(classes: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Every loss of section 2.1 as a function of the logits of student and teacher."""
    labels = torch.arange(BATCH) % classes
    return {
        "soft_targets": partial(losses.soft_targets, temperature=4.0),
        "logit_regression": losses.logit_regression,
        "label_smoothing": lambda s, t: losses.label_smoothing(s, labels, 0.1),
        "decoupled_kd": lambda s, t: losses.decoupled_kd(s, t, labels, 4.0),
        "normalized_kd": lambda s, t: losses.normalized_kd(s, t, labels),
        "multi_level_logits": losses.multi_level_logits,
        "pearson_distillation": losses.pearson_distillation,
        "standardized_soft_targets": partial(losses.standardized_soft_targets, temperature=2.0),
        "transformed_teacher": lambda s, t: losses.transformed_teacher(s, t, 4.0),
    }


def with_classes(rounds: int = 25) -> list[Measured]:
    """Each loss: its time at 10,000 classes over that at 1,000, and all four times in the name."""
    times: dict[str, list[list[float]]] = {}
    for classes in CLASSES:
        student, teacher = torch.randn(2, BATCH, classes).unbind()
        student.requires_grad_()
        for name, loss in logit_losses(classes).items():

            def step(loss: Callable = loss, s: Tensor = student, t: Tensor = teacher) -> None:
                torch.autograd.grad(loss(s, t), s)

            step()
            times.setdefault(name, []).append([seconds(step) for _ in range(rounds)])
    rows = []
    for name, found in times.items():
        middles = ", ".join(f"{1e3 * statistics.median(one):.2g}" for one in found)
        title = f"`{name}`: 1,000 to 10,000 classes ({middles} ms at 10, 100, 1,000, 10,000)"
        rows.append(ratio(title, found[-1], found[-2], at_most=13))
    return rows


def with_images(rounds: int = 3) -> list[Measured]:
    """An image's time in an epoch of a small network, among many images and among few."""
    source = data.load("cifar10")
    few, many = SIZES
    pool = source.train_all.select(slice(None, many))
    recipe = Recipe(epochs=1, batch_size=256, lr=0.05, crop_padding=4, flip=True)

    def epoch(images: Images, repeated: int) -> Callable[[], None]:
        batches = Batches(images, 256, mean=source.mean, sd=source.sd, crop_padding=4, flip=True)
        network = nets.build("tiny", num_classes=10, in_channels=3, image_size=32)
        plan = recipe.model_copy(update={"epochs": repeated})
        return lambda: distil.train(network, batches, plan)

    times = in_turns(
        {"many": epoch(pool, 1), "few": epoch(pool.select(slice(None, few)), many // few)}, rounds
    )
    name = f"an image's time in an epoch: among {many:,} / among {few:,}"
    return [ratio(name, times["many"], times["few"], at_most=1.1)]


def measured() -> list[Measured]:
    """The table's rows about growth."""
    return with_classes() + with_images()
