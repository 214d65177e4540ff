"""Passalis and Tefas 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer".

Retrieval on few images of CIFAR-10 and of a second set: which images have the query's class, ranked by
the cosine of embeddings? A tiny network is trained on labels; its embedding then learns, without
labels, to resemble that of a larger network shipped with the workbook: by soft targets, by hints
through a random or a learnt linear map, or by PKT. A larger network with random weights is the control for
the teacher's knowledge.

`papers/passalis2018pkt/setting.md` explains why the images are few and the training is long.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.data import Batches, Images
from kdnb.nets.checkpoints import card_of
from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import TEST_IMAGES, Precision
from kdnb.runs.task import data_spec, network_of
from kdnb.runs.trials import Context, Outcome, Result, Trial
from kdnb.training.inputs import examples_of
from kdnb.training.layers import layers_of, look

# The teachers, which are shipped with the workbook. Only embeddings are compared, so of the maps only those
# of the last stage are kept.
FIRST, SECOND = "cifar10", "mnist"
TEACHERS = {FIRST: "resnet20", SECOND: "lenet5"}
LAST = {FIRST: "stage3", SECOND: "stage2"}
RANDOM_SEED = 5000  # first seed of the untrained teachers
BATCH = 64
DRAWN = 40000  # the first training images, none of which is held out
RECALLS = 11  # levels of recall, 0 to 1, at which precision is read


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(256, ge=256, le=DRAWN, description="of the students; the database")
    test_images: int = Field(500, ge=100, le=TEST_IMAGES)
    queries: int = Field(
        200, ge=10, le=TEST_IMAGES, description="test images that are searched for"
    )
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    student_epochs: int = Field(4, ge=1, le=1000, description="on labels, before the transfer")
    transfer_epochs: int = Field(3, ge=1, le=1000)
    transfer_lr: float = Field(0.001, gt=0, le=1, description="Adam's rate in the transfer")
    augment: bool = Field(False, description="crops and flips before the transfer")
    precision: Precision = "32"
    arms: list[str] = Field(
        ["teacher", "student", "kd", "hint", "pkt"],
        description="the arms to run; all when empty",
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=1000, test_images=2000, queries=2000, seeds=10, student_epochs=30,
        transfer_epochs=60, precision="bf16", arms=[],
    ),
    "full": Parameters(
        train_images=DRAWN, test_images=TEST_IMAGES, queries=TEST_IMAGES, seeds=10,
        student_epochs=100, transfer_epochs=50, transfer_lr=0.0001, augment=True, precision="bf16",
        arms=[],
    ),
}  # fmt: skip


def students_data(p: Parameters, dataset: str, seed: int) -> dict[str, Any]:
    """The images of a seed: each seed has its own as long as there are enough; none is held out."""
    skip = seed % (DRAWN // p.train_images) * p.train_images
    evaluated = None if p.test_images == TEST_IMAGES else p.test_images
    return data_spec(
        dataset, split="train_all", limit=p.train_images, skip=skip or None, evaluated=evaluated
    )


def teacher(p: Parameters, dataset: str) -> Trial:
    """The network shipped with the workbook, the one teacher of all seeds."""
    name = TEACHERS[dataset]
    arguments = {"data": students_data(p, dataset, 0), "network": {"name": name},
                 "sha256": card_of(name, dataset).sha256}  # fmt: skip
    return Trial("shipped", arguments, 0)


def random_teacher(p: Parameters, dataset: str, seed: int) -> Trial:
    """The same network, untrained; a different one for each seed."""
    arguments = {"data": students_data(p, dataset, 0), "network": {"name": TEACHERS[dataset]}}
    return Trial("untrained", arguments, RANDOM_SEED + seed)


def student(p: Parameters, dataset: str, seed: int) -> Trial:
    """A student of labels, from which every transfer starts."""
    recipe = {"epochs": p.student_epochs, "batch_size": BATCH, "optimiser": "adam", "lr": 0.001,
              "schedule": "constant", "crop_padding": 4 if p.augment else 0, "flip": p.augment,
              "precision": p.precision}  # fmt: skip
    data = students_data(p, dataset, seed)
    return Trial("supervised", {"data": data, "network": {"name": "tiny"}, "recipe": recipe}, seed)


def moved(p: Parameters, dataset: str, seed: int, method: str, random: bool = False) -> Trial:
    """A student that continues with labels, or with a teacher and no labels."""
    recipe = {"epochs": p.transfer_epochs, "batch_size": BATCH, "optimiser": "adam",
              "lr": p.transfer_lr, "schedule": "constant", "precision": p.precision}  # fmt: skip
    arguments = {"data": students_data(p, dataset, seed), "network": {"name": "tiny"},
                 "recipe": recipe, "start": student(p, dataset, seed)}  # fmt: skip
    if method == "continued":
        return Trial("supervised", arguments, seed)
    arguments["teacher"] = random_teacher(p, dataset, seed) if random else teacher(p, dataset)
    if method == "kd":
        loss = {"name": "soft_targets", "temperature": 2.0}
        return Trial("distilled", {**arguments, "loss": loss}, seed)
    # Converts the authors' mean over pairs to the paper's sum; Adam is nearly independent of the scale.
    weight = float(BATCH**2) if method == "pkt" else 1.0
    arguments |= {"method": method, "weight": weight, "hard_weight": 0.0,
                  "student_maps": ["stage3"], "teacher_maps": [LAST[dataset]]}  # fmt: skip
    return Trial("transferred", arguments, seed)


METHODS = {"continued": "continued", "kd": "kd", "hint_random": "random_hint",
           "hint": "projected_hint", "pkt": "pkt"}  # fmt: skip
UNTRAINED = ("hint", "pkt")  # methods that are also run with an untrained teacher


def arms(p: Parameters) -> Arms:
    """The paper's arms, a student that continues with labels for as long, and untrained teachers.

    The arms `second_data_...` are the same on MNIST, without the hints through a random map and
    from an untrained teacher.
    """
    second = _arms(p, SECOND)
    del second["hint_random"], second["untrained_hint"]
    return {**_arms(p, FIRST), **{f"second_data_{name}": arm for name, arm in second.items()}}


def _arms(p: Parameters, dataset: str) -> Arms:
    taught = {
        **{name: (method, False) for name, method in METHODS.items()},
        **{f"untrained_{name}": (METHODS[name], True) for name in UNTRAINED},
    }
    return {
        "teacher": _searched(p, dataset, lambda seed: teacher(p, dataset)),
        "student": _searched(p, dataset, lambda seed: student(p, dataset, seed)),
        **{
            name: _searched(p, dataset, lambda seed, how=how: moved(p, dataset, seed, *how))
            for name, how in taught.items()
        },
    }


def _searched(p: Parameters, dataset: str, trial_of: Any) -> Any:
    def arm(seed: int) -> Trial:
        arguments = {"data": students_data(p, dataset, seed), "trained": trial_of(seed),
                     "queries": p.queries}  # fmt: skip
        return Trial("retrieved", arguments, seed)

    return arm


def retrieved(
    context: Context, seed: int, *, data: dict[str, Any], trained: Result, queries: int
) -> Outcome:
    """A trial that searches the training images of `data` for the classes of test images."""
    source = datasets.load(data["name"])
    network = network_of(trained)
    database, asked = examples_of(source, data), source.test.select(slice(queries))
    found = [embeddings(network, images, source) for images in (asked, database)]
    precision, first = mean_average_precision(*found, asked.labels, database.labels)
    metrics = {"map": 100 * precision, "top_10": 100 * first}
    looked_at = len(trained.tensors()["logits.test"])
    metrics["accuracy"] = 100 * (1 - trained.metrics["test_errors"] / looked_at)
    metrics |= {key: trained.metrics[key] for key in ("train_errors", "train_images")}
    return Outcome(metrics)


def embeddings(network: torch.nn.Module, images: Images, source: datasets.ImageData) -> Tensor:
    """The inputs of the network's classifier for every image: (images, features) float32."""
    batches = Batches(images, 500, mean=source.mean, sd=source.sd, shuffle=False)
    layers = layers_of(network)
    return torch.cat([look(network, layers, b.images).embedding.float() for b in batches.epoch(0)])


def mean_average_precision(
    queries: Tensor, database: Tensor, query_labels: Tensor, labels: Tensor
) -> tuple[float, float]:
    """The paper's interpolated mean average precision, and the precision of the first ten.

    For each query the database is ranked by cosine similarity. Precision at a rank counts the share
    of its class so far; interpolated, it is the best at this rank or any later one. It is read where
    recall is nearest to 0, 0.1, ..., 1, and averaged over these levels and the queries.

    Args:
        queries: (queries, features); database: (images, features).
        query_labels, labels: their classes.

    Returns:
        Both between 0 and 1.

    Departures: the authors' code takes the maximum over neighbouring queries instead of later ranks,
    which looks like a slip; the numbers differ little.
    """
    queries, database = F.normalize(queries), F.normalize(database)
    levels = torch.linspace(0, 1, RECALLS)
    ranks = torch.arange(1, len(database) + 1)
    total, first = 0.0, 0.0
    for part, classes in zip(queries.split(100), query_labels.split(100), strict=True):
        order = (part @ database.T).argsort(dim=1, descending=True)
        right = (labels[order] == classes[:, None]).cumsum(1)
        precision = right / ranks
        best = precision.flip(1).cummax(1).values.flip(1)
        recall = right / right[:, -1:]
        # Recall rises along a row: the nearest position is on one of the two sides of the crossing.
        place = torch.searchsorted(recall, levels.expand(len(part), -1).contiguous())
        place = place.clamp_max(len(database) - 1)
        before = recall.gather(1, (place - 1).clamp_min(0))
        before = torch.searchsorted(recall, before)  # the first rank with that recall
        nearer = (recall.gather(1, before) - levels).abs() <= (
            recall.gather(1, place) - levels
        ).abs()
        total += float(best.gather(1, torch.where(nearer, before, place)).double().mean(1).sum())
        first += float(precision[:, min(9, len(database) - 1)].double().sum())
    return total / len(queries), first / len(queries)


def measure(arm: str, result: Result) -> dict[str, float]:
    """Retrieval and classification of one trial."""
    return dict(result.metrics)


REPRODUCTION = Reproduction("passalis2018pkt", arms, measure)
