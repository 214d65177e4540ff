"""What chapter 3-1 runs live beside the judged part: each offline scheme on few images.

All of it is illustrated, not judged: one small teacher, few images, at most two seeds. The trials
are memoised like any other; `follow` alone keeps its route in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from kdnb import data as datasets
from kdnb import losses
from kdnb.data import ImageData, Images
from kdnb.methods.architecture.net2net import prune
from kdnb.methods.offline import distil, rco
from kdnb.methods.offline.bss import boundary_samples
from kdnb.methods.offline.funmatch import another_view
from kdnb.runs import trials
from kdnb.runs.task import built, data_spec, network_of, prepared
from kdnb.runs.trials import Context, Outcome, Result, Trial
from kdnb.training import Recipe
from kdnb.training.inputs import batches_of, examples_of, logits_on

DATASET, EVALUATED = "fashion_mnist", 500
TEACHER, STUDENT = {"name": "lenet5"}, {"name": "lenet5_half_dafl"}
SOFT = {"name": "soft_targets", "temperature": 4.0}
PRUNED = {"stage1.conv": 3, "stage2.conv": 8}  # LeNet-5 with these is `lenet5_half_zskd`
BLOCKS = ["stage1.conv", "stage2.conv", "stage3.conv"]  # the last has one pixel an image
VIEWS = ("fixed", "independent", "consistent", "mixed")


def plain(images: Images, source: ImageData) -> datasets.Batches:
    """All images as they are, in one batch."""
    return datasets.Batches(images, len(images), mean=source.mean, sd=source.sd, shuffle=False)


def recipe(epochs: int, **more: Any) -> dict[str, Any]:
    """The recipe of everything live, but for its length and augmentation."""
    return {"epochs": epochs, "batch_size": 50, "optimiser": "adam", "lr": 0.003,
            "schedule": "one_cycle", "precision": "32", **more}  # fmt: skip


def some(images: int) -> dict[str, Any]:
    """The first so many training images; the first 1,000 test images are looked at."""
    return data_spec(DATASET, limit=images, evaluated=EVALUATED)


def trial(function: str, images: int, network: dict[str, Any], seed: int, **more: Any) -> Trial:
    """`function` is a name of `kdnb.runs.registry`."""
    arguments = {"data": some(images), "network": network, **more}
    return Trial(function, arguments, seed)


def teacher(images: int = 2000, epochs: int = 6) -> Trial:
    """LeNet-5 on more images than any student sees, shifted and mirrored."""
    plan = recipe(epochs, crop_padding=2, flip=True)
    return trial("supervised", images, TEACHER, 100, recipe=plan)


# --- the pipeline and its early stops ------------------------------------------------------------


def arms(images: int = 150, epochs: int = 36) -> dict[str, Callable[[int], Trial]]:
    """Students of one seed start from the same weights and take the same number of steps.

    Beside every imitation stands the cross-entropy with weight 1, except in the hint's own stage.
    Two stages share the epochs: the hint takes the first quarter, soft targets the rest.
    """
    first = max(1, epochs // 4)
    maps = {"student_maps": ["stage2"], "teacher_maps": ["stage2"]}
    soft = {"loss": SOFT, "hard_weight": 1.0}

    def student(scheme: str, length: int = epochs, guide: Trial | None = None, **more: Any):
        own = {} if scheme == "supervised" else {"teacher": guide or teacher()}
        plan = recipe(length)
        return lambda seed: trial(scheme, images, STUDENT, seed, recipe=plan, **own, **more)

    def two_stages(seed: int) -> Trial:
        stage = {"method": "hint", "weight": 1.0, "hard_weight": 0.0, **maps}
        hint = student("transferred", first, **stage)(seed)
        return student("distilled", epochs - first, start=hint, **soft)(seed)

    return {
        "labels alone": student("supervised"),
        "soft targets": student("distilled", **soft),
        "hint, one stage": student("transferred", method="hint", weight=1.0, **maps),
        "hint, then soft targets": two_stages,
        "early-stopped teacher": student("distilled", guide=teacher(epochs=2), **soft),
        "early-stopped distillation": student("early_stopped", stop_epoch=epochs // 2, **soft),
        "boundary samples": student("boundary_taught", count=8, steps=4, bounds=pixel_bounds()),
    }


def table(chosen: dict[str, Callable[[int], Trial]], seeds: int) -> pd.DataFrame:
    """Test errors of each arm, mean and range over its seeds, and the seconds a run took."""
    asked = {name: [arm(seed) for seed in range(seeds)] for name, arm in chosen.items()}
    done = trials.run_all(one for runs in asked.values() for one in runs)
    rows = {}
    for name, runs in asked.items():
        wrong = [done[one.digest].metrics["test_errors"] for one in runs]
        wall = [done[one.digest].provenance["wall_s"] for one in runs]
        rows[name] = {
            f"errors of {EVALUATED}": round(sum(wrong) / seeds), "from": int(min(wrong)),
            "to": int(max(wrong)), "seconds a run": round(sum(wall) / seeds, 1),
            "standing": "illustrated, not judged",
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("the student learns from")


def errors(asked: dict[int, dict[str, Trial]], index: str) -> pd.DataFrame:
    """Test errors of trials by a number (rows, named `index`) and by arm (columns)."""
    done = trials.run_all(one for chosen in asked.values() for one in chosen.values())
    rows = {
        number: {name: int(done[one.digest].metrics["test_errors"]) for name, one in chosen.items()}
        for number, chosen in asked.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index)


def stored_and_true(network: nn.Module, images: Images, source: ImageData) -> tuple[Tensor, Tensor]:
    """What a teacher says of images as they are, and of the same ones shifted and mirrored.

    Returns:
        The augmented images (N, C, H, W) normalised, and the share of probability that the stored
        answer gives to other classes than the true one does: the total variation distance, (N,).
    """
    scale = {"mean": source.mean, "sd": source.sd}
    batches = datasets.Batches(images, len(images), crop_padding=2, flip=True, **scale)
    views = another_view(batches, torch.arange(len(images)), epoch=0)
    with torch.no_grad():
        said = network.cpu().eval()(views).softmax(1)
    stored = logits_on(network, images, source).softmax(1)
    return views, (stored - said).abs().sum(1) / 2


def seconds(student: nn.Module, network: nn.Module, source: ImageData) -> pd.DataFrame:
    """How long three epochs of distillation take by what is known of the teacher's answers."""
    images, found = source.train_all.select(slice(192)), {}

    def timed(teacher: nn.Module, padding: int) -> float:
        plan = Recipe(epochs=3, lr=0.01, precision="32", crop_padding=padding)
        batches = batches_of(images, source, plan, seed=0)
        started = perf_counter()
        distil.distil(student, teacher, batches, plan, method=_soft, label_weight=0)
        return round(perf_counter() - started, 2)

    def stranger() -> nn.Module:
        """The same network but for a trifle, so that no earlier run has kept its answers."""
        copied = deepcopy(network)
        with torch.no_grad():
            next(copied.parameters()).add_(1e-6 * torch.rand(1, generator=chance))
        return copied

    chance = torch.Generator()
    chance.seed()  # another one in every run
    timed(stranger(), 4)  # the first training of a process is slower
    teacher = stranger()
    found["crops and flips that nobody has seen"] = timed(teacher, 4)
    found["the same ones again"] = timed(teacher, 4)
    found["one view of each image"] = timed(stranger(), 0)
    return pd.DataFrame({"seconds": found}).rename_axis("the teacher is asked about")


# --- the route -----------------------------------------------------------------------------------


class Followed(NamedTuple):
    """One student on the teacher's route.

    Attributes:
        anchors: epochs after which the teacher taught.
        teacher: test errors of every checkpoint.
        student: test errors after each anchor.
        constant: of a student of the same epochs that only ever sees the last checkpoint.
        hardness: (anchors + 1, epochs) KL of the route's checkpoints against the student, before
            the first anchor and after each.
    """

    anchors: list[int]
    teacher: list[int]
    student: list[int]
    constant: list[int]
    hardness: Tensor


def follow(images: int = 400, epochs: int = 12, anchors: int = 4, seed: int = 0) -> Followed:
    """Route-constrained optimisation, live: a short route, and a student that follows it."""
    source = datasets.load(DATASET)
    test, lessons = source.test.select(slice(EVALUATED)), examples_of(source, some(images))
    whole, part = (Recipe(**recipe(length)) for length in (epochs, epochs // anchors))
    guide = built(TEACHER, source, 100)
    batches = batches_of(lessons, source, whole, seed)
    _, path = rco.record_route(guide, batches, whole, seed=seed)
    said = []
    for state in path:
        guide.load_state_dict(state)
        said.append(logits_on(guide, test, source))
    stops = rco.equal_intervals(epochs, anchors)

    def walk(teachers: Sequence[int]) -> tuple[list[int], Tensor]:
        student = built(STUDENT, source, seed)
        answers = [logits_on(student, test, source)]
        for number in teachers:
            rco.follow_route(student, guide, path, [number], batches, part, seed=seed,
                               loss=_soft, hard_weight=1.0)  # fmt: skip
            answers.append(logits_on(student, test, source))
        hardness = [[float(losses.soft_targets(z, v, 1.0)) for v in said] for z in answers]
        return [_errors(z, test) for z in answers[1:]], torch.tensor(hardness)

    student, hardness = walk(stops)
    constant, _ = walk([epochs] * anchors)
    return Followed(stops, [_errors(z, test) for z in said], student, constant, hardness)


def _soft(student: Tensor, taught: Tensor) -> Tensor:
    return losses.soft_targets(student, taught, SOFT["temperature"])


def _errors(logits: Tensor, images: Images) -> int:
    return int((logits.argmax(1).cpu() != images.labels).sum())


# --- boundary samples ----------------------------------------------------------------------------


def pixel_bounds() -> list[float]:
    """Black and white of normalised Fashion-MNIST."""
    card = datasets.card(DATASET)
    return [(value - card.mean[0]) / card.sd[0] for value in (0.0, 1.0)]


def walks(
    network: nn.Module, images: Tensor, targets: Tensor, steps: Sequence[int], size: float = 0.3
) -> list[tuple[Tensor, Tensor]]:
    """Images after some numbers of steps to the boundary, and the teacher's probabilities there.

    Args:
        images: (N, C, H, W), normalised.
        steps: 0 is the image itself.
    """
    found = []
    for count in steps:
        here = images
        if count:
            here = boundary_samples(network, images, targets, steps=count, step_size=size,
                                    bounds=tuple(pixel_bounds()))  # fmt: skip
        with torch.no_grad():
            found.append((here, network(here).softmax(1)))
    return found


# --- few samples ---------------------------------------------------------------------------------


def pruned(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    teacher: Result,
    layers: dict[str, int],
) -> Outcome:
    """A trial that thins a trained teacher: in each layer the units with the largest weights stay.

    Args:
        network: what the thinned teacher then is, for instance `lenet5_half_zskd`.
        layers: path -> units that stay; the tensors `kept.<path>` say which.
    """
    task = prepared(context, seed, data, network, {"epochs": 1, "lr": 1.0})
    images = next(task.batches.epoch(0)).images[:1].cpu()
    thinned, kept = network_of(teacher), {}
    for path, units in layers.items():
        thinned, kept[f"kept.{path}"] = prune(thinned, path, units, images)
    task.network.load_state_dict(thinned.state_dict())
    outcome = task.outcome([{"layers": float(len(layers))}])
    return replace(outcome, tensors={**outcome.tensors, **kept})


def few(images: int, steps: int = 60) -> dict[str, Trial]:
    """The thinned teacher, and what some images make of it in `steps` steps or by least squares."""
    thin, guide = {"name": "lenet5_half_zskd"}, teacher()
    told = {"data": some(10), "network": thin, "teacher": guide, "layers": PRUNED}
    start = Trial("pruned", told, 0)
    plan = {"recipe": recipe(math.ceil(steps / math.ceil(images / 50))), "start": start}

    def mended(blocks: list[str]) -> Trial:
        scheme = "mended"
        return trial(scheme, images, thin, 0, teacher=guide, start=start, blocks=blocks)

    soft = {"teacher": guide, "loss": SOFT}
    return {
        "pruned": start,
        "FSKD": mended(BLOCKS),
        "FSKD, two blocks": mended(BLOCKS[:2]),
        "labels": trial("supervised", images, thin, 0, **plan),
        "soft targets": trial("distilled", images, thin, 0, **soft, **plan),
    }


def matching(epochs: int, images: int = 300) -> dict[str, Trial]:
    """One student a kind of view; the student's images are shifted and mirrored in all."""
    plan = recipe(epochs, crop_padding=2, flip=True)
    how = {"recipe": plan, "teacher": teacher()}
    scheme = "function_matched"
    return {views: trial(scheme, images, STUDENT, 0, views=views, **how) for views in VIEWS}
