"""What a method of section 2 costs: its step beside that of plain soft targets.

The pair of the recorded comparison (`kdnb.reproductions.tian2020crd`): WRN-16-2 teaches a thin
ResNet-8 on CIFAR-10 images, in float32 and batches of 64. A step is the teacher's answer, the
student's, the loss with its adapters, and the backward pass. The teacher is asked in every step,
so that a method that reads only stored answers gains nothing here. A first stage on the teacher alone
(FT, MHGD) is not counted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks import Measured, in_turns, ratio
from kdnb import data, nets
from kdnb.data import Batches
from kdnb.methods.catalogue import METHODS
from kdnb.methods.criterion import Criterion
from kdnb.reproductions import tian2020crd

BATCH, STEPS, ROUNDS = 64, 3, 5


def step(method: str, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """Some steps of one method on one batch."""
    network = dict(tian2020crd.STUDENTS["resnet"]["network"])
    student = nets.build(network.pop("name"), in_channels=3, image_size=32, **network)
    teacher = nets.build(tian2020crd.TEACHER, in_channels=3, image_size=32)
    criterion = Criterion(
        method, student, teacher, (images, labels),
        images=len(images), weight=METHODS[method].weight or 1.0,
    )  # fmt: skip
    if criterion.unprepared:  # FT and MHGD; their first stage is not counted
        criterion.prepare(images, batch_size=len(images))

    def run() -> None:
        student.train()
        for _ in range(STEPS):
            loss = criterion(images, labels)
            student.zero_grad()
            criterion.zero_grad()
            loss.backward()

    return run


def measured() -> list[Measured]:
    source = data.load("cifar10")
    chosen = source.train.select(slice(None, BATCH))
    batch = next(iter(Batches(chosen, BATCH, mean=source.mean, sd=source.sd).epoch(0)))
    rows = []
    for method in tian2020crd.COMPARED:
        if method == "kd":
            continue
        works = {
            "kd": step("kd", batch.images, batch.labels),
            "method": step(method, batch.images, batch.labels),
        }
        times = in_turns(works, ROUNDS)
        rows.append(ratio(f"{method}: its step / KD's", times["method"], times["kd"]))
    return sorted(rows, key=lambda row: row.value)
