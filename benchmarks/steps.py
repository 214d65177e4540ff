"""A training step of the main methods: ours, a plain script's, and the bare passes.

ResNet-56 teaches ResNet-20 on CIFAR-10 images (batch 64, crop and flip, SGD). Four forms of one
step:

- *plain*: what a script does that nobody has tuned: a DataLoader with two workers, PIL transforms,
  float32, the teacher asked in every step;
- *ours*: the scheme as a chapter calls it, with the recipe's precision "auto";
- *compiled*: ours, with networks that `torch.compile` has translated, where it finds a compiler;
- *bare*: the forward and backward passes alone, over one batch that lies ready, at our precision
  and memory layout: what this machine cannot go below with these networks.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from unittest import mock

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import (
    Measured,
    in_turns,
    rate,
    ratio,
    seconds,
)
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


class Pictures(Dataset):
    """Images as torchvision serves them: one PIL image at a time through transforms."""

    def __init__(self, images: Images, source: ImageData) -> None:
        self.images = images.images.permute(0, 2, 3, 1).numpy()
        self.labels = images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(source.mean, source.sd),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def network(name: str) -> nn.Module:
    return nets.build(name, num_classes=10, in_channels=3, image_size=32)


def plain(loader: DataLoader) -> Callable[[], None]:
    """Hinton's distillation as a script has it."""
    student, teacher = network("resnet20"), network("resnet56").eval()
    optimiser = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)

    def run() -> None:
        student.train()
        for images, _ in loader:
            with torch.no_grad():
                taught = teacher(images)
            said = (student(images) / 4).log_softmax(1)
            loss = 16 * F.kl_div(said, (taught / 4).softmax(1), reduction="batchmean")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run


def bare(images: Tensor, steps: int, *, asks: bool) -> Callable[[], None]:
    """Forward and backward passes of the student, with or without the teacher's answers."""
    form = {"memory_format": torch.channels_last}
    student, teacher = network("resnet20").to(**form), network("resnet56").eval().to(**form)
    images, labels = images.contiguous(**form), torch.zeros(len(images), dtype=torch.int64)
    half = devices.gains_from_bf16()

    def run() -> None:
        student.train()
        for _ in range(steps):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
                if asks:
                    with torch.no_grad():
                        teacher(images)
                logits = student(images)
            student.zero_grad(set_to_none=True)
            F.cross_entropy(logits.float(), labels).backward()

    return run


def ours(images: Images, source: ImageData) -> dict[str, Callable[[], object]]:
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

    def asking(work: Callable[[], object]) -> Callable[[], object]:
        """The same without a table of answers: the teacher is asked in every step."""

        def run() -> None:
            with mock.patch.object(teacher_cache, "LARGEST", 0):
                work()

        return run

    def method(name: str) -> Callable[[], object]:
        weight = METHODS[name].weight or 1.0
        return asking(
            lambda: distil.distil(network("resnet20"), teacher, batches, RECIPE, method=name,
                                  weight=1e-3 * weight)
        )  # fmt: skip

    student = network("resnet20")

    def compiled() -> None:
        with mock.patch.dict("os.environ", KDNB_RUNS=kept, KDNB_COMPILE="1"):
            distil.distil(student, teacher, batches, RECIPE, method=SOFT, label_weight=0)

    peers = {name: network("resnet20") for name in ("one", "other")}
    lenets = {"in_channels": 1, "image_size": 32}
    makers = nets.build("lenet5", **lenets), nets.build("lenet5_half_dafl", **lenets)
    once = Recipe(epochs=1, batch_size=BATCH, optimiser="adam", lr=2e-3, schedule="constant")
    return {
        "KD, no answer known": cold,
        "KD, all answers known": lambda: distilled(kept),
        **({"KD, all answers known, compiled": compiled} if devices.can_compile() else {}),
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
    for name, asks in (("KD, all answers known", False), ("KD, teacher asked", True)):
        works = {"ours": mine[name], "bare": bare(shown, steps, asks=asks)}
        found = in_turns(works, rounds=3)
        title = f"{name}: ours / bare passes, {steps} steps"
        rows.append(ratio(title, found["ours"], found["bare"], at_most=1.05))
    return rows


def measured(steps: int = STEPS, rounds: int = ROUNDS) -> list[Measured]:
    """The table's rows about training steps."""
    source = data.load("cifar10")
    images = source.train.select(slice(None, BATCH * steps))
    loader = DataLoader(
        Pictures(images, source), BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )
    shown = next(Batches(images, BATCH, mean=source.mean, sd=source.sd).epoch(0)).images
    works = {
        "plain": plain(loader),
        "bare, with teacher": bare(shown, steps, asks=True),
        "bare": bare(shown, steps, asks=False),
        **ours(images, source),
    }
    known, translated = "KD, all answers known", "KD, all answers known, compiled"
    pairs = [
        ("KD, all answers known: plain script / ours", "plain", known, {"at_least": 5}),
        ("KD, no answer known: plain script / ours", "plain", "KD, no answer known",
         {"at_least": 2.5}),
        ("the most that this could be: plain script / bare passes", "plain", "bare", {}),
        *([("KD, all answers known: as written / compiled", known, translated, {})]
          if translated in works else []),
        *((f"{METHODS[name].title}: its step / KD's", METHODS[name].title, "KD, teacher asked",
           {"at_most": 1.15}) for name in RELATIONS),
    ]  # fmt: skip
    first = seconds(works[translated]) if translated in works else None
    rows, times = [], {}
    for name, above, below, wanted in pairs:  # two at a time: the machine's speed drifts
        found = in_turns({side: works[side] for side in (above, below)}, rounds)
        rows.append(ratio(name, found[above], found[below], **wanted))
        times |= found
    rows += against_bare(source, LONGER * steps, shown)
    rest = {name: work for name, work in works.items() if name not in times}
    times |= in_turns(rest, rounds)
    if first is not None:
        compiling = first - min(times[translated])
        rows.append(
            Measured("compiling both networks, first answers", compiling, compiling, compiling, "s")
        )
    return rows + [rate(name, times[name], BATCH * steps) for name in works]
