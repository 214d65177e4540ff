"""Passalis and Tefas 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer".

Retrieval on CIFAR-10: which images have the query's class, ranked by the cosine of embeddings? A tiny
network is trained on labels; its embedding is then taught, without any label, to resemble a large
network's: by soft targets, by hints through a random or a learnt linear map, or by PKT.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.data import Batches, Images
from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import Precision
from kdnb.runs.task import data_spec, network_of
from kdnb.runs.trials import Context, Outcome, Result, Trial
from kdnb.training.inputs import examples_of
from kdnb.training.layers import layers_of, look

# Only embeddings are compared: of the maps, the last stage's alone need be kept.
LAST = {"student_maps": ["stage3"], "teacher_maps": ["stage3"]}
RECALLS = 11  # levels of recall, 0 to 1, at which precision is read


class Parameters(BaseModel):
    """What the records are made with; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(2000, ge=256, le=40000, description="of the students")
    test_images: int = Field(500, ge=100, le=10000)
    queries: int = Field(200, ge=10, le=10000, description="test images that are searched for")
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    teacher_images: int = Field(2000, ge=256, le=40000)
    teacher_epochs: int = Field(3, ge=1, le=1000)
    student_epochs: int = Field(4, ge=1, le=1000, description="on labels, before the transfer")
    transfer_epochs: int = Field(3, ge=1, le=1000)
    precision: Precision = "32"
    arms: list[str] = Field(
        ["teacher", "student", "kd", "hint", "pkt"],
        description="the arms to run; all when empty",
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=20000, test_images=5000, queries=2000, seeds=6, teacher_images=40000,
        teacher_epochs=10, student_epochs=10, transfer_epochs=6, precision="bf16", arms=[],
    ),
    "full": Parameters(
        train_images=40000, test_images=10000, queries=10000, seeds=10, teacher_images=40000,
        teacher_epochs=100, student_epochs=100, transfer_epochs=50, precision="bf16", arms=[],
    ),
}  # fmt: skip


def teacher(p: Parameters) -> Trial:
    """ResNet-20, the one teacher of all seeds; 10,000 training images are held out."""
    whole = p.teacher_images == 40000
    limit, evaluated = (None, None) if whole else (p.teacher_images, p.test_images)
    arguments = {
        "data": data_spec("cifar10", split="train", limit=limit, evaluated=evaluated),
        "network": {"name": "resnet20"},
        "recipe": {"epochs": p.teacher_epochs, "batch_size": 128, "lr": 0.2, "momentum": 0.9,
                   "nesterov": True, "weight_decay": 5e-4, "schedule": "one_cycle",
                   "crop_padding": 4, "flip": True, "precision": p.precision},
    }  # fmt: skip
    return Trial("supervised", arguments, 0)


def students_data(p: Parameters, images: int) -> dict[str, Any]:
    """The first `images` training images, none of which is among the 10,000 held out."""
    return data_spec("cifar10", split="train_all", limit=images, evaluated=p.test_images)


def arms(p: Parameters) -> Arms:
    """The paper's arms, and a student that goes on with labels as long as the others with teachers."""
    data = students_data(p, p.train_images)
    base = {"data": data, "network": {"name": "tiny"}}
    gentle = {"epochs": p.transfer_epochs, "batch_size": 128, "optimiser": "adam", "lr": 0.0001,
              "schedule": "constant", "precision": p.precision}  # fmt: skip

    def student(seed: int) -> Trial:
        recipe = {
            **gentle,
            "epochs": p.student_epochs,
            "lr": 0.001,
            "crop_padding": 4,
            "flip": True,
        }
        return Trial("supervised", {**base, "recipe": recipe}, seed)

    def moved(seed: int, method: str) -> Trial:
        more = {"recipe": gentle, "start": student(seed)}
        if method == "continued":
            return Trial("supervised", {**base, **more}, seed)
        more["teacher"] = teacher(p)
        if method == "kd":
            more["loss"] = {"name": "soft_targets", "temperature": 2.0}
            return Trial("distilled", {**base, **more}, seed)
        # The authors' mean over pairs, made the paper's sum; Adam hardly minds the scale of a loss.
        weight = 128.0**2 if method == "pkt" else 1.0
        more |= {"method": method, "weight": weight, "hard_weight": 0.0, **LAST}
        return Trial("transferred", {**base, **more}, seed)

    def searched(trial_of):
        def arm(seed: int) -> Trial:
            arguments = {"data": data, "trained": trial_of(seed), "queries": p.queries}
            return Trial("retrieved", arguments, seed)

        return arm

    methods = {"continued": "continued", "kd": "kd", "hint_random": "random_hint",
               "hint": "projected_hint", "pkt": "pkt"}  # fmt: skip
    return {
        "teacher": searched(lambda seed: teacher(p)),
        "student": searched(student),
        **{
            name: searched(lambda seed, method=method: moved(seed, method))
            for name, method in methods.items()
        },
    }


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
    return Outcome(metrics)


def embeddings(network: torch.nn.Module, images: Images, source: datasets.ImageData) -> Tensor:
    """What the network's classifier reads, for every image: (images, features) float32."""
    batches = Batches(images, 500, mean=source.mean, sd=source.sd, shuffle=False)
    layers = layers_of(network)
    return torch.cat([look(network, layers, b.images).embedding.float() for b in batches.epoch(0)])


def mean_average_precision(
    queries: Tensor, database: Tensor, query_labels: Tensor, labels: Tensor
) -> tuple[float, float]:
    """The paper's interpolated mean average precision, and the precision of the first ten.

    For each query the database is ranked by cosine similarity. Precision at a rank counts the share
    of its class so far; interpolated, it is the best at this rank or any later one. It is read where
    recall comes nearest to 0, 0.1, ..., 1, and averaged over these levels and the queries.

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
        # Recall rises along a row: the nearest place is on one of two sides of where it crosses.
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
