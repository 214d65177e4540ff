"""Bashivan et al. 2019, "Teacher Guided Architecture Search": does early similarity to a teacher rank networks?

Every seed draws small convolutional networks at random and trains each on a few images of Fashion-MNIST.
After the first epochs each is graded: by its accuracy on held-out images, and by the similarity of its
representations to those of the LeNet-5 shipped with the workbook. The question is which grade predicts the
final accuracies.

Departures: a small space of chains instead of cells; embeddings instead of the maximum over layers (which is
a separate condition); see `papers/bashivan2019tgsa/setting.md`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.nets.checkpoints import card_of
from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

DATASET, TEACHER = "fashion_mnist", "lenet5"
UNTRAINED_SEED = 5000
SPACE: dict[str, Any] = {
    "depths": [1, 2, 3, 4],
    "channels": [4, 8, 16, 32],
    "kernels": [1, 3, 5],
    "pools": [1, 2],
    "norms": [True, False],
}
MOMENTS = [1, 2]  # epochs


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(256, ge=128, le=40000, description="of each candidate")
    test_images: int = Field(200, ge=100, le=10000, description="that final accuracies are of")
    early_images: int = Field(200, ge=50, le=5000, description="held out, of early accuracies")
    probes: int = Field(50, ge=10, le=5000, description="of these, of representations")
    candidates: int = Field(4, ge=3, le=1000, description="networks of a seed")
    most_multiply_adds: int = Field(1_000_000, ge=1000, description="of a candidate, one image")
    epochs: int = Field(3, ge=3, le=1000)
    lr: float = Field(0.005, gt=0, le=1, description="Adam's peak")
    seeds: int = Field(1, ge=1, le=1000, description="paired repetitions, each of other networks")
    scored: str = Field("test", pattern="^(test|validation)$", description="validation in pilots")
    arms: list[str] = Field([], description="the arms to run; all when empty")


LAPTOP = Parameters(
    train_images=2000, test_images=4000, early_images=1000, probes=300, candidates=16,
    most_multiply_adds=1_500_000, epochs=8, seeds=10,
)  # fmt: skip
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(
        update={
            "train_images": 40000,
            "test_images": 10000,
            "early_images": 5000,
            "candidates": 100,
            "most_multiply_adds": 50_000_000,
            "epochs": 40,
            "seeds": 10,
        }
    ),
}


def teacher(p: Parameters, trained: bool = True) -> Trial:
    """The network shipped with the workbook, or one with random weights; the same for all seeds."""
    arguments = {
        "data": data_spec(DATASET, split="train", limit=100, evaluated=100),
        "network": {"name": TEACHER},
    }
    if not trained:
        return Trial("untrained", arguments, UNTRAINED_SEED)
    return Trial("shipped", {**arguments, "sha256": card_of(TEACHER, DATASET).sha256}, 0)


def arms(p: Parameters) -> Arms:
    """One trial for each seed; `measure` returns the grades to compare."""
    arguments = {
        "data": data_spec(DATASET, split="train", limit=p.train_images, evaluated=p.test_images),
        "space": SPACE,
        "candidates": p.candidates,
        "most_multiply_adds": p.most_multiply_adds,
        "recipe": {"epochs": p.epochs, "batch_size": 32, "optimiser": "adam", "lr": p.lr,
                   "schedule": "cosine", "precision": "32"},
        "probes": p.probes,
        "early_images": p.early_images,
        "teacher": teacher(p),
        "untrained": teacher(p, trained=False),
        "moments": MOMENTS,
        "scored": p.scored,
    }  # fmt: skip
    return {"ranking": lambda seed: Trial("early_grades", arguments, seed)}


def conditions(p: Parameters) -> set[str]:
    """The arms that `measure` returns besides the one that runs."""
    early = ("guidance", "accuracy", "both", "logits", "layers", "untrained", "shuffled", "random")
    graded = {f"{name}{moment}" for name in early for moment in (0, *MOMENTS)}
    return graded | {"teacher", "candidates", "size", "multiply_adds"}


def measure(arm: str, result: Result) -> dict[str, float]:
    """Metrics of each grade, as a separate arm: `guidance1_rank` is `guidance1.rank`.

    The number of parameters is the arm `size`: in a claim, `parameters` are those of the record.
    """
    found = {}
    for name, value in result.metrics.items():
        grade, _, metric = name.rpartition("_")
        found[f"{'size' if grade == 'parameters' else grade}.{metric}"] = value
    return found


REPRODUCTION = Reproduction("bashivan2019tgsa", arms, measure)
