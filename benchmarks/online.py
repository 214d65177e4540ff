"""What online distillation costs, measured in one run: `python benchmarks/online.py`.

ResNet-20 on CIFAR-10 images, batch 128, crop and flip, the recipe's precision "auto".

1. Two peers of mutual learning against two independent trainings: at most 1.10 is wanted where both
   move at once. In turn the first peer answers every batch a second time.
2. ONE with three heads on a common stem (which ends before the last stage) against three
   independent trainings: below 1 is wanted.

Each pair is measured in turns, A B A B ..., after a warm-up, so that a drift of the machine's
speed meets both; the ratio is the median over the pairs.
"""

from __future__ import annotations

import torch
from torch import nn
from training import MEAN, SD, compare, report

from kdnb import data, nets
from kdnb.data import Batches
from kdnb.methods import online
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe
from kdnb.training.devices import gains_from_bf16

BATCH, STEPS, PAIRS = 128, 20, 5
RECIPE = Recipe(epochs=1, batch_size=BATCH, lr=0.05, schedule="constant", crop_padding=4, flip=True)


def network() -> nn.Module:
    return nets.build("resnet20", in_channels=3, image_size=32)


def mutual(batches: Batches, order: str) -> list[float]:
    together = {name: network() for name in ("one", "other")}
    apart = [network() for _ in together]
    return compare(
        lambda: online.mutual(together, batches, RECIPE, order=order),
        lambda: [train(single, batches, RECIPE) for single in apart],
        pairs=PAIRS,
    )


def one(batches: Batches) -> list[float]:
    example = next(batches.epoch(0)).images
    branches = online.Branches.split([network() for _ in range(3)], "stage3", example)
    gate, apart = online.Gate(32, 3), [network() for _ in range(3)]
    return compare(
        lambda: online.one(branches, gate, batches, RECIPE),
        lambda: [train(single, batches, RECIPE) for single in apart],
        pairs=PAIRS,
    )


if __name__ == "__main__":
    images = data.load("cifar10").train.select(slice(None, BATCH * STEPS))
    lessons = Batches(images, BATCH, mean=MEAN, sd=SD, crop_padding=4, flip=True)
    print(f"{torch.get_num_threads()} threads, bf16 {'used' if gains_from_bf16() else 'not used'}")
    independent = "time of two mutual peers / two independent trainings"
    report(f"at once, {independent}", mutual(lessons, "simultaneous"), "at most 1.10")
    report(
        f"in turn, {independent}", mutual(lessons, "sequential"), "nothing: it pays an answer more"
    )
    report("time of ONE with three heads / three independent trainings", one(lessons), "below 1")
