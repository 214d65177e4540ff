"""Our verbs beside what others run, for six methods at three sizes.

In turns in one process tree: a plain script (DataLoader with no, two and four workers; the same
under bf16 autocast), timm's task, the step of a framework driven by configuration files
(`benchmarks.scripts` describes them), our function, and the bare passes: forward and backward over one
prepared batch, at our precision and memory layout. All see the same images, cropped and, if they have
colours, flipped. The time of our function is that of its epoch; its work once a run, before the first
step, has a row of its own. "Compiled" is `--compile`, after torch has translated the networks.

Targets for KD, beside the plain script with two workers: 5 times its images a second when the teacher's
answers are known from an earlier run, and 2.5 times when none is. Hardware without bf16 spends the same
time on the passes of both; there the targets are 2 and 1.1. Target for every method: 0.95 of the bare
passes' images a second.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import NamedTuple
from unittest import mock

import torch
from torch import nn

from benchmarks import Measured, Work, in_turns, rate, ratio, scripts, steps
from kdnb import data, nets
from kdnb.data import Batches, ImageData
from kdnb.methods.data_free import Generator, dafl
from kdnb.methods.offline.distil import distil
from kdnb.methods.online.dml import mutual
from kdnb.paths import temporary_folder
from kdnb.training import Fit, Recipe, devices


class Size(NamedTuple):
    """A student, its teacher, and what they see.

    Attributes:
        padding, flip: of the images.
        steps: of a timed epoch.
    """

    student: str
    teacher: str
    data: str
    padding: int
    flip: bool
    steps: int


SIZES = {
    "LeNet-5": Size("lenet5_half_dafl", "lenet5", "mnist", 2, False, 40),
    "ResNet-20": Size("resnet20", "resnet56", "cifar10", 4, True, 20),
    "WRN-16-2": Size("wrn-16-2", "wrn-40-2", "cifar10", 4, True, 10),
}
TITLES = {"kd": "KD", "fitnets": "hints", "rkd": "RKD", "crd": "CRD", "dml": "DML", "dafl": "DAFL"}
WORKERS = (0, 2, 4)
BATCH, ROUNDS = 64, 3
BARE = 0.95  # of the bare passes' images a second
SCRIPT, BF16 = "plain script, {} workers", "plain script, 2 workers, bf16"
KNOWN, COLD, OURS = "ours, all answers known", "ours, no answer known", "ours"
COMPILED = {KNOWN: "ours, compiled, all answers known", COLD: "ours, compiled, no answer known"}


class Setting:
    """One size: its images, and networks as they are wanted."""

    def __init__(self, size: Size) -> None:
        self.size, self.steps = size, size.steps
        self.before: list[float] = []  # seconds of each of our runs before its first step
        self.source: ImageData = data.load(size.data)
        self.images = self.source.train.select(slice(None, BATCH * size.steps))
        # So small a rate that no loss diverges, for the teacher is untrained.
        self.recipe = Recipe(
            epochs=1, batch_size=BATCH, lr=scripts.LR, schedule="constant",
            crop_padding=size.padding, flip=size.flip,
        )  # fmt: skip
        self.batches = Batches(
            self.images, BATCH, mean=self.source.mean, sd=self.source.sd,
            crop_padding=size.padding, flip=size.flip,
        )  # fmt: skip
        served = scripts.Served(self.images, self.source, size.padding, size.flip)
        self.loaders = {count: scripts.loader(served, BATCH, count) for count in {2, *WORKERS}}

    def network(self, name: str) -> nn.Module:
        _, channels, size, _ = self.images.images.shape
        return nets.build(name, num_classes=10, in_channels=channels, image_size=size)

    @property
    def pair(self) -> tuple[nn.Module, nn.Module]:
        """A fresh student and teacher."""
        return self.network(self.size.student), self.network(self.size.teacher)

    def epoch_of(self, run: Callable[[], Fit | list[dict[str, float]]]) -> Work:
        """One of our runs as a work that takes as long as its epoch."""

        def work() -> float:
            started = perf_counter()
            made = run()
            whole = perf_counter() - started
            trained = sum(row["seconds"] for row in (made.rows if isinstance(made, Fit) else made))
            self.before.append(whole - trained)
            return trained

        return work

    @property
    def generator(self) -> Generator:
        _, channels, size, _ = self.images.images.shape
        return Generator("dafl", channels=channels, image_size=size)


def bare(setting: Setting, students: int = 1, *, asks: bool = False) -> Work:
    """The bare passes of a size, over its first batch."""
    networks = [setting.network(setting.size.student) for _ in range(students)]
    teacher = setting.network(setting.size.teacher).eval() if asks else None
    images = next(setting.batches.epoch(0)).images
    return steps.bare(images, setting.steps, *networks, teacher=teacher)


def bare_dafl(setting: Setting) -> Work:
    """Noise through generator and teacher and back, and a pass of the student both ways."""
    form = {"memory_format": torch.channels_last}
    parts = (*setting.pair, setting.generator)
    student, teacher, generator = (network.to(**form) for network in parts)
    teacher.eval().requires_grad_(False)
    noise, half = torch.randn(BATCH, generator.latent), devices.gains_from_bf16()

    def run() -> None:
        for _ in range(setting.steps):
            for network in (student, generator):
                network.zero_grad(set_to_none=True)
            with scripts.half(half):
                images = generator(noise)
                logits = teacher(images), student(images.detach())
            for answer in logits:
                answer.float().square().mean().backward()

    return run


def offline(setting: Setting, method: str, stack: ExitStack) -> dict[str, Work]:
    """The forms of a method with a teacher; of KD all of them."""
    plain = partial(scripts.script, method)
    forms: dict[str, Work] = {}
    for count in WORKERS if method == "kd" else (2,):
        forms[SCRIPT.format(count)] = plain(*setting.pair, setting.loaders[count])
    forms[BF16] = plain(*setting.pair, setting.loaders[2], bf16=True)
    forms["configured framework"] = scripts.configured(method, *setting.pair, setting.loaders[2])
    student, teacher = setting.pair

    ours = setting.epoch_of(
        lambda: distil(
            student, teacher, setting.batches, setting.recipe, method=method, weight=1e-3
        )
    )
    if method != "kd":
        return forms | {OURS: steps.asking(ours), "bare passes": bare(setting, asks=True)}
    if timm := scripts.timm_task(*setting.pair, setting.loaders[2]):
        forms["timm's task"] = timm
    kept = str(stack.enter_context(temporary_folder("kdnb-")))

    def known() -> object:
        with mock.patch.dict(os.environ, KDNB_RUNS=kept):
            return ours()

    def cold() -> object:
        with temporary_folder("kdnb-") as empty, mock.patch.dict(os.environ, KDNB_RUNS=str(empty)):
            return ours()

    forms |= {KNOWN: known, COLD: cold}
    if devices.can_compile():
        forms |= {COMPILED[form]: steps.compiling(forms[form]) for form in COMPILED}
    return forms | {"bare passes": bare(setting),
                    "bare passes, with the teacher's": bare(setting, asks=True)}  # fmt: skip


def online(setting: Setting) -> dict[str, Work]:
    """The forms of deep mutual learning of two students."""
    name = setting.size.student
    two = lambda: [setting.network(name), setting.network(name)]
    peers = two()
    return {
        SCRIPT.format(2): scripts.mutual(*two(), setting.loaders[2]),
        BF16: scripts.mutual(*two(), setting.loaders[2], bf16=True),
        OURS: setting.epoch_of(
            lambda: mutual(peers, setting.batches, setting.recipe, order="simultaneous")
        ),
        "bare passes": bare(setting, 2),
    }


def data_free(setting: Setting) -> dict[str, Work]:
    """The forms of DAFL, which sees no image."""
    student, teacher = setting.pair
    generator, count = setting.generator, setting.steps
    recipe = Recipe(
        epochs=1, batch_size=BATCH, optimiser="adam", lr=scripts.LR, schedule="constant"
    )

    def script(bf16: bool) -> Work:
        return scripts.dafl(*setting.pair, setting.generator, "stage3", BATCH, count, bf16)

    return {
        "plain script": script(False),
        "plain script, bf16": script(True),
        OURS: setting.epoch_of(
            lambda: dafl(student, teacher, generator, recipe, generator_recipe=recipe, steps=count)
        ),
        "bare passes": bare_dafl(setting),
    }


def forms_of(setting: Setting, method: str, stack: ExitStack) -> dict[str, Work]:
    special: dict[str, Callable[[Setting], dict[str, Work]]] = {"dml": online, "dafl": data_free}
    if method in special:
        return special[method](setting)
    return offline(setting, method, stack)


def compared(title: str, times: dict[str, list[float]]) -> Iterator[Measured]:
    """Every form's time over ours, and ours over the bare passes'.

    Of the scripts, only the one with two workers has a ratio that is wanted.
    """
    bf16 = devices.gains_from_bf16()
    # Without bf16 in hardware script and verb spend the same on their passes.
    wanted = {KNOWN: 5.0 if bf16 else 2.0, COLD: 2.5 if bf16 else 1.1}
    wanted |= {compiled: wanted[form] for form, compiled in COMPILED.items()}
    theirs = [form for form in times if not form.startswith(("ours", "bare"))]
    for ours in (form for form in (KNOWN, COLD, *COMPILED.values(), OURS) if form in times):
        for form in theirs:
            least = wanted.get(ours) if form == SCRIPT.format(2) else None
            yield ratio(f"{title}: {form} / {ours}", times[form], times[ours], at_least=least)
        if ours in COMPILED.values():
            continue
        passes = "bare passes, with the teacher's" if ours == COLD else "bare passes"
        name = f"{title}: {ours} / {passes}"
        yield ratio(name, times[ours], times[passes], at_most=round(1 / BARE, 3))
    if KNOWN in times:
        why = "" if bf16 else " (no bf16 in hardware: the same arithmetic in both)"
        name = f"{title}: {SCRIPT.format(2)} / bare passes, the upper limit{why}"
        yield ratio(name, times[SCRIPT.format(2)], times["bare passes"])


def measured(rounds: int = ROUNDS, methods: Sequence[str] = tuple(TITLES)) -> list[Measured]:
    """The table's rows: ratios first, then images a second of every form."""
    ratios, rates = [], []
    for name, size in SIZES.items():
        setting = Setting(size)
        for method in methods:
            setting.before.clear()
            with ExitStack() as stack:
                times = in_turns(forms_of(setting, method, stack), rounds)
            title, before = f"{name}, {TITLES[method]}", sorted(setting.before)
            ratios += compared(title, times)
            rates += [
                rate(f"{title}: {form}", found, BATCH * setting.steps)
                for form, found in times.items()
            ]
            first = f"{title}: ours, before the first step"
            rates.append(Measured(first, statistics.median(before), before[0], before[-1], "s"))
    return ratios + rates
