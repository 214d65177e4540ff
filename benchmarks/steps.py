"""A training step of the main methods: ours, a plain script's, and the bare passes.

ResNet-56 teaches ResNet-20 on CIFAR-10 images (batch 64, crop and flip, SGD). Four forms of one
step:

- *plain*: what a script does that nobody has tuned: a DataLoader with two workers, PIL transforms,
  float32, the teacher asked in every step;
- *ours*: the scheme as a chapter calls it, with the recipe's precision "auto";
- *compiled*: ours, with networks that `torch.compile` has translated, where it finds a compiler
  (`--compile`). What translating costs has rows of its own: in the first run of two networks, when
  nothing lies on the disk, and in the next run of the same process;
- *bare*: the forward and backward passes alone, over one batch that lies ready, at our precision
  and memory layout: what this machine cannot go below with these networks.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from functools import partial
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks import Measured, Work, in_turns, rate, ratio, scripts, seconds
from kdnb import data, losses, nets
from kdnb.data import Batches, ImageData, Images
from kdnb.methods import online
from kdnb.methods.catalogue import METHODS
from kdnb.methods.data_free import Generator, dafl
from kdnb.methods.offline import distil
from kdnb.paths import temporary_folder
from kdnb.training import Recipe, devices, teacher_cache

BATCH, STEPS, ROUNDS = 64, 10, 7
LONGER = 4  # times as many steps, where the loop is held against the bare passes
# So small a rate that no loss diverges, for the teacher is untrained; a step's time is the same.
RECIPE = Recipe(epochs=1, batch_size=BATCH, lr=1e-4, schedule="constant", crop_padding=4, flip=True)
SOFT = partial(losses.soft_targets, temperature=4.0)
RELATIONS = ("rkd", "sp", "cc", "pkt", "crd")
KNOWN, COLD = "KD, all answers known", "KD, no answer known"
KNOWN_COMPILED, COLD_COMPILED = f"{KNOWN}, compiled", f"{COLD}, compiled"


def network(name: str) -> nn.Module:
    return nets.build(name, num_classes=10, in_channels=3, image_size=32)


def plain(loader: DataLoader) -> Work:
    """Hinton's distillation as a script has it."""
    student, teacher = network("resnet20"), network("resnet56").eval()
    optimiser = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)

    def run() -> None:
        student.train()
        for images, *_ in loader:
            with torch.no_grad():
                taught = teacher(images)
            said = (student(images) / 4).log_softmax(1)
            loss = 16 * F.kl_div(said, (taught / 4).softmax(1), reduction="batchmean")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run


def bare(
    images: Tensor, steps: int, *students: nn.Module, teacher: nn.Module | None = None
) -> Work:
    """Forward and backward passes of students, and the teacher's forward pass where there is one."""
    form = {"memory_format": torch.channels_last}
    for one in (*students, *([teacher] if teacher is not None else [])):
        one.to(**form)
    images, labels = images.contiguous(**form), torch.zeros(len(images), dtype=torch.int64)
    bf16 = devices.gains_from_bf16()

    def run() -> None:
        for student in students:
            student.train()
        for _ in range(steps):
            with scripts.half(bf16):
                if teacher is not None:
                    with torch.no_grad():
                        teacher(images)
                logits = [student(images) for student in students]
            for student, answer in zip(students, logits, strict=True):
                student.zero_grad(set_to_none=True)
                F.cross_entropy(answer.float(), labels).backward()

    return run


def bare_kd(images: Tensor, steps: int, *, asks: bool) -> Work:
    """The bare passes of this table's KD, with or without the teacher's answers."""
    teacher = network("resnet56").eval() if asks else None
    return bare(images, steps, network("resnet20"), teacher=teacher)


def compiling(work: Work) -> Work:
    """The same with compiled networks."""

    def run() -> object:
        with mock.patch.dict("os.environ", KDNB_COMPILE="1"):
            return work()

    return run


def asking(work: Work) -> Work:
    """The same without a table of answers: the teacher is asked in every step."""

    def run() -> object:
        with mock.patch.object(teacher_cache, "LARGEST", 0):
            return work()

    return run


def ours(images: Images, source: ImageData) -> dict[str, Work]:
    """Name -> one epoch of a scheme as a chapter calls it."""
    batches = Batches(images, BATCH, mean=source.mean, sd=source.sd, crop_padding=4, flip=True)
    teacher, stack = network("resnet56"), ExitStack()
    kept = str(stack.enter_context(temporary_folder("kdnb-")))
    atexit.register(stack.close)

    def distilled(runs: str) -> None:
        with mock.patch.dict("os.environ", KDNB_RUNS=runs):
            distil.distil(
                network("resnet20"), teacher, batches, RECIPE, method=SOFT, label_weight=0
            )

    def cold() -> None:
        with temporary_folder("kdnb-") as empty:
            distilled(str(empty))

    def method(name: str) -> Work:
        weight = METHODS[name].weight or 1.0
        return asking(
            lambda: distil.distil(network("resnet20"), teacher, batches, RECIPE, method=name,
                                  weight=1e-3 * weight)
        )  # fmt: skip

    peers = {name: network("resnet20") for name in ("one", "other")}
    lenets = {"in_channels": 1, "image_size": 32}
    makers = nets.build("lenet5", **lenets), nets.build("lenet5_half_dafl", **lenets)
    once = Recipe(epochs=1, batch_size=BATCH, optimiser="adam", lr=2e-3, schedule="constant")
    return {
        COLD: cold,
        KNOWN: lambda: distilled(kept),
        **(
            {COLD_COMPILED: compiling(cold), KNOWN_COMPILED: compiling(lambda: distilled(kept))}
            if devices.can_compile()
            else {}
        ),
        "KD, teacher asked": method("kd"),
        **{METHODS[name].title: method(name) for name in ("fitnets", *RELATIONS)},
        "DML, two ResNet-20": lambda: online.mutual(peers, batches, RECIPE, order="simultaneous"),
        "DAFL, LeNet-5": lambda: dafl(
            makers[1], makers[0], Generator("dafl"), once, generator_recipe=once, steps=STEPS
        ),
    }


def against_bare(source: ImageData, steps: int, shown: Tensor) -> list[Measured]:
    """What the loop costs beside the passes, over so many steps that its beginning is little."""
    mine, rows = ours(source.train.select(slice(None, BATCH * steps)), source), []
    for name, asks in ((KNOWN, False), ("KD, teacher asked", True)):
        works = {"ours": mine[name], "bare": bare_kd(shown, steps, asks=asks)}
        found = in_turns(works, rounds=3)
        title = f"{name}: ours / bare passes, {steps} steps"
        rows.append(ratio(title, found["ours"], found["bare"], at_most=1.05))
    return rows


def translating(work: Work) -> list[float]:
    """Seconds of the first and second run of compiled networks that torch has never seen."""
    torch.compiler.reset()
    with (
        temporary_folder("kdnb-") as empty,
        mock.patch.dict("os.environ", TORCHINDUCTOR_CACHE_DIR=str(empty)),
    ):
        return [seconds(work) for _ in range(2)]


def measured(steps: int = STEPS, rounds: int = ROUNDS) -> list[Measured]:
    """The table's rows about training steps."""
    source = data.load("cifar10")
    images = source.train.select(slice(None, BATCH * steps))
    loader = scripts.loader(scripts.Served(images, source, 4, flip=True), BATCH, workers=2)
    shown = next(Batches(images, BATCH, mean=source.mean, sd=source.sd).epoch(0)).images
    works = {
        "plain": plain(loader),
        "bare, with teacher": bare_kd(shown, steps, asks=True),
        "bare": bare_kd(shown, steps, asks=False),
        **ours(images, source),
    }
    at_least = 2.5 if devices.gains_from_bf16() else 1.1
    pairs = [
        (f"{KNOWN}: plain script / ours", "plain", KNOWN, {"at_least": 2 * at_least}),
        (f"{COLD}: plain script / ours", "plain", COLD, {"at_least": at_least}),
        ("the upper limit: plain script / bare passes", "plain", "bare", {}),
        *((f"{form}: as written / compiled", form, compiled, {})
          for form, compiled in ((KNOWN, KNOWN_COMPILED), (COLD, COLD_COMPILED)) if compiled in works),
        *((f"{METHODS[name].title}: its step / KD's", METHODS[name].title, "KD, teacher asked",
           {"at_most": 1.15}) for name in RELATIONS),
    ]  # fmt: skip
    first = translating(works[COLD_COMPILED]) if COLD_COMPILED in works else []
    rows, times = [], {}
    for name, above, below, wanted in pairs:  # two at a time: the machine's speed drifts
        found = in_turns({side: works[side] for side in (above, below)}, rounds)
        rows.append(ratio(name, found[above], found[below], **wanted))
        times |= found
    rows += against_bare(source, LONGER * steps, shown)
    rest = {name: work for name, work in works.items() if name not in times}
    times |= in_turns(rest, rounds)
    for name, whole in zip(("the first run", "a later one"), first, strict=False):
        more = max(0.0, whole - min(times[COLD_COMPILED]))
        rows.append(Measured(f"compiling both networks: {name}", more, more, more, "s"))
    return rows + [rate(name, times[name], BATCH * steps) for name in works]
