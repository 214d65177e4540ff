"""Park et al. 2019, "Relational Knowledge Distillation": retrieval of classes not seen in training.

Of twenty classes, ten of MNIST and ten of Fashion-MNIST, every seed draws twelve. A teacher learns an
embedding of them by a triplet loss. A student with four numbers per image learns from few images of the same
classes: by the same triplet loss, by the teacher's relations (distances, angles), by its individual
embeddings, or by soft targets. Each is then tested on which images of the other eight classes belong
together: Recall@1.

`papers/park2019rkd/setting.md` explains how the setting was chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

FIRST, SECOND = "mnist", "fashion_mnist"
STUDENT, MASTER = {"name": "plain2", "width": 0.5}, {"name": "plain4"}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    seen: int = Field(12, ge=12, le=18, description="classes that are learnt, of 20")
    each: int = Field(20, ge=5, le=4000, description="training images of each class, of a student")
    teacher_each: int = Field(20, ge=5, le=4000, description="of each class, of the teacher")
    side: int = Field(14, ge=8, le=28, description="pixels of an image")
    queries: int = Field(20, ge=5, le=800, description="images of each class that are searched")
    epochs: int = Field(1, ge=1, le=1000)
    teacher_epochs: int = Field(1, ge=1, le=1000)
    lr: float = Field(0.005, gt=0, le=1, description="Adam's peak")
    features: int = Field(4, ge=2, le=512, description="of a student's embedding")
    teacher_features: int = Field(32, ge=2, le=512)
    seeds: int = Field(1, ge=1, le=1000, description="paired repetitions, each of other classes")
    scored: str = Field("test", pattern="^(test|train)$", description="train in pilots")
    arms: list[str] = Field([], description="the arms to run; all when empty")


LAPTOP = Parameters(each=40, teacher_each=400, queries=100, epochs=60, teacher_epochs=3, seeds=10)
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(
        update={"each": 1000, "teacher_each": 4000, "side": 28, "queries": 800, "epochs": 80,
                "teacher_epochs": 40, "features": 16, "teacher_features": 128}
    ),
}  # fmt: skip


def _learnt(p: Parameters, seed: int, how: str, **more: Any) -> Trial:
    """A student on the classes of its seed."""
    arguments = {
        "data": data_spec(FIRST, split="train"),
        "more_data": data_spec(SECOND, split="train"),
        "seen": p.seen,
        "each": p.each,
        "side": p.side,
        "queries": p.queries,
        "network": {**STUDENT, "features": p.features},
        "recipe": {"epochs": p.epochs, "optimiser": "adam", "lr": p.lr, "schedule": "cosine",
                   "precision": "32"},
        "how": how,
        "scored": p.scored,
    }  # fmt: skip
    return Trial("searched", {**arguments, **more}, seed)


def teacher(p: Parameters, seed: int, trained: bool = True) -> Trial:
    """The teacher of a seed, or the same network with random weights."""
    plan = p.model_copy(update={"epochs": p.teacher_epochs, "each": p.teacher_each})
    wide = {**MASTER, "features": p.teacher_features}
    return _learnt(plan, seed, "triplet" if trained else "untrained", network=wide, normalise=True)


def arms(p: Parameters) -> Arms:
    """The teacher, the student of labels, the students of the teacher, and controls."""

    def triplet(seed: int, epochs: int = p.epochs) -> Trial:
        plan = p.model_copy(update={"epochs": epochs})
        return _learnt(plan, seed, "triplet", normalise=True)

    def taught(how: str = "relations", trained: bool = True, **more: Any) -> Callable[[int], Trial]:
        return lambda seed: _learnt(p, seed, how, teacher=teacher(p, seed, trained), **more)

    return {
        "teacher": lambda seed: teacher(p, seed),
        "triplet": triplet,
        "shorter": lambda seed: triplet(seed, max(1, p.epochs // 3)),
        "distances": taught(angle_weight=0.0),
        "relations": taught(),
        "normalised": taught(normalise=True),
        "hint": taught("hint"),
        "logits": taught("logits"),
        "again": lambda seed: _learnt(p, seed, "relations", teacher=triplet(seed)),
        "untrained": taught(trained=False),
        "shuffled": taught(shuffled=True),
    }


# Further measurements: pixels, and as many principal components as a student has features.
CONDITIONS = {"pixels", "principal"}


def measure(arm: str, result: Result) -> dict[str, float]:
    """Recall@1 in percent, among unseen classes (`recall`), seen ones and training images.

    For the student of labels also `pixels.recall` and `principal.recall`, which need no network.
    """
    found = dict(result.metrics)
    beside = {f"{name}.recall": found.pop(name) for name in sorted(CONDITIONS)}
    return found | (beside if arm == "triplet" else {})


REPRODUCTION = Reproduction("park2019rkd", arms, measure)
