"""What a training step is made of: KD into a LeNet-5 and a ResNet-20, all answers known.

A LeNet-5's passes take a millisecond or two, so everything else counts. The bare passes get
one thing after the other, each form timed in turns with the others: the optimiser's step, the
method's loss in place of a cross-entropy alone, images cropped anew for each step, the teacher's
answers looked up by their views. What our loop takes beyond the last form is its own: names,
checks, the learning rate, and Fabric.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import Measured, Work, in_turns, peers, ratio, scripts
from kdnb import losses
from kdnb.data import Batch
from kdnb.methods.offline.distil import distil
from kdnb.paths import temporary_folder
from kdnb.training import devices
from kdnb.training.devices import arithmetic
from kdnb.training.teacher_cache import TeacherCache

ROUNDS = {"LeNet-5": 15, "ResNet-20": 5}  # of each size
OWN = 1.1  # the loop's own part is to be at most a tenth
FORMS = (
    "the bare passes",
    "with the optimiser's step",
    "with the loss of KD",
    "with images cropped anew",
    "with the teacher's answers looked up",
)
OURS = "our loop"


def loop(setting: peers.Setting, teacher: nn.Module, level: int) -> Work:
    """The bare passes of a size with so many of the things that a step of KD does besides."""
    form = {"memory_format": torch.channels_last}
    student = setting.network(setting.size.student).to(**form)
    optimiser = setting.recipe.optimiser_for(list(student.parameters()))
    first, half = next(setting.batches.epoch(0)), devices.gains_from_bf16()
    first = first._replace(images=first.images.contiguous(**form))
    cache = TeacherCache(teacher, setting.batches, arithmetic(setting.recipe.precision))

    @torch.no_grad()
    def asked(images: Tensor) -> Tensor:
        with scripts.half(half):
            return teacher(images)

    def shown() -> Iterator[Batch]:
        yield from setting.batches.epoch(0) if level > 2 else [first] * setting.steps

    def run() -> None:
        student.train()
        answers = asked(first.images).float()
        for batch in shown():
            if level > 3:
                answers = cache(asked, batch)
            with scripts.half(half):
                logits = student(batch.images)
            loss = F.cross_entropy(logits.float(), batch.labels)
            if level > 1:
                loss = loss + losses.soft_targets(logits.float(), answers, 4.0)
            student.zero_grad(set_to_none=True)
            loss.backward()
            if level > 0:
                optimiser.step()

    return run


def measured(rounds: Mapping[str, int] = ROUNDS) -> list[Measured]:
    """The table's rows: milliseconds of a step of each form, and our loop over two of them."""
    return [row for size, count in rounds.items() for row in _of(size, count)]


def _of(size: str, rounds: int) -> list[Measured]:
    """The rows of one size."""
    setting = peers.Setting(peers.SIZES[size])
    student, teacher = setting.pair
    teacher.eval()
    with (
        temporary_folder("kdnb-") as folder,
        mock.patch.dict(os.environ, KDNB_RUNS=str(folder)),
    ):
        works = {name: loop(setting, teacher, level) for level, name in enumerate(FORMS)}
        works[OURS] = setting.epoch_of(
            lambda: distil(student, teacher, setting.batches, setting.recipe)
        )
        times = in_turns(works, rounds)
    rows = []
    for name, found in times.items():
        each = sorted(1e3 * one / setting.steps for one in found)
        rows.append(Measured(f"{size}: {name}", statistics.median(each), each[0], each[-1], "ms"))
    bare, whole = times[FORMS[0]], times[FORMS[-1]]
    least = round(1 / peers.BARE, 3)
    return [
        *rows,
        ratio(f"{size}: our loop / the bare passes", times[OURS], bare, at_most=least),
        ratio(f"{size}: a loop by hand that does the same / the bare passes", whole, bare),
        ratio(f"{size}: our loop / that loop by hand", times[OURS], whole, at_most=OWN),
    ]
