"""Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", on MNIST.

A maxout teacher (48-48-24 channels, 361,066 parameters) and a student twice as deep and a twelfth
of its size (16-16-16-16-12-12). Four ways to train the student, each from the paper's initial
weights, uniform in ±0.005, and from He's: labels; soft targets; hints first, then soft targets;
and hints and labels together, which public code calls FitNet. All get the same number of epochs.

`papers/romero2015fitnets/setting.md` explains why the students of the record are trained for long on few
images.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import Precision
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

TEMPERATURE = 3.0
STARTS: dict[str, float | None] = {"uniform": 0.005, "he": None}
# The student's fourth layer is guided by the teacher's second, both after pooling.
GUIDED, HINT = ["layers.3"], ["layers.1"]


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(1000, ge=128, le=50000, description="of the students")
    test_images: int = Field(1000, ge=100, le=10000)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    teacher_images: int = Field(2000, ge=128, le=50000)
    teacher_epochs: int = Field(5, ge=1, le=1000)
    hint_epochs: int = Field(2, ge=1, le=1000, description="of the first stage")
    student_epochs: int = Field(8, ge=2, le=1000, description="in all, both stages together")
    batch_size: int = Field(128, ge=1, le=1000, description="of the students")
    precision: Precision = "32"
    arms: list[str] = Field(
        ["teacher", "backprop_he", "kd_he", "hints_he"],
        description="the arms to run; all when empty",
    )

    @model_validator(mode="after")
    def _second_stage(self) -> Parameters:
        if self.hint_epochs >= self.student_epochs:
            raise ValueError(
                f"hint_epochs ({self.hint_epochs}) must leave epochs of student_epochs "
                f"({self.student_epochs}) to the second stage."
            )
        return self


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=2000, test_images=10000, seeds=12, teacher_images=20000, teacher_epochs=5,
        hint_epochs=20, student_epochs=60, batch_size=64, precision="bf16", arms=[],
    ),
    "full": Parameters(
        train_images=50000, test_images=10000, seeds=10, teacher_images=50000, teacher_epochs=100,
        hint_epochs=100, student_epochs=300, precision="bf16", arms=[],
    ),
}  # fmt: skip


def arms(p: Parameters) -> Arms:
    """The paper's four ways for both initialisations, and the teacher, which all share."""
    # The same images as the first of `train`; this split is not evaluated in every epoch.
    data = _data(p, p.train_images, split="train_all")

    def teacher(seed: int) -> Trial:
        arguments = {
            "data": _data(p, p.teacher_images, split="train"),
            "network": {"name": "maxout_mnist", "irange": None},
            "recipe": {"epochs": p.teacher_epochs, "batch_size": 128, "optimiser": "adam",
                       "lr": 0.001, "schedule": "one_cycle", "crop_padding": 2,
                       "precision": p.precision},
        }  # fmt: skip
        return Trial("supervised", arguments, 0)  # one teacher for all seeds

    def student(kind: str, start: float | None, seed: int) -> Trial:
        network = {"name": "fitnet_mnist", "irange": start}
        base: dict[str, Any] = {"data": data, "network": network}
        whole = {**base, "recipe": _recipe(p, p.student_epochs)}
        if kind == "backprop":
            return Trial("supervised", whole, seed)
        if kind == "kd":
            return Trial("distilled", {**whole, **_soft(teacher(0))}, seed)
        guided = {"teacher": teacher(0), "student_maps": GUIDED, "teacher_maps": HINT}
        if kind == "one_stage":
            more = {**guided, "method": "hint", "weight": 100.0}
            return Trial("transferred", {**whole, **more}, seed)
        hints = {**guided, "method": "hint_regression", "weight": 1.0, "hard_weight": 0.0}
        first = {**base, "recipe": _recipe(p, p.hint_epochs), **hints}
        second = {**base, "recipe": _recipe(p, p.student_epochs - p.hint_epochs),
                  **_soft(teacher(0)),
                  "start": Trial("transferred", first, seed)}  # fmt: skip
        return Trial("distilled", second, seed)

    def arm(kind: str, start: float | None):
        return lambda seed: student(kind, start, seed)

    kinds = ("backprop", "kd", "hints", "one_stage")
    return {
        "teacher": teacher,
        **{f"{kind}_{name}": arm(kind, start) for name, start in STARTS.items() for kind in kinds},
    }


def _data(p: Parameters, images: int, split: str) -> dict[str, Any]:
    evaluated = None if p.test_images == 10000 else p.test_images
    limit = None if images == 50000 and split == "train" else images
    return data_spec("mnist", split=split, limit=limit, evaluated=evaluated)


def _soft(teacher: Trial) -> dict[str, Any]:
    # The paper's lambda falls from 4 to 1 and its loss has no T²; ours has.
    weights = [4 / TEMPERATURE**2, 1 / TEMPERATURE**2]
    loss = {"name": "soft_targets", "temperature": TEMPERATURE}
    return {"teacher": teacher, "loss": loss, "soft_weight": weights, "hard_weight": 1.0}


def _recipe(p: Parameters, epochs: int) -> dict[str, Any]:
    return {"epochs": epochs, "batch_size": p.batch_size, "optimiser": "rmsprop", "lr": 0.001,
            "smoothing": 0.9, "schedule": "one_cycle", "precision": p.precision}  # fmt: skip


def measure(arm: str, result: Result) -> dict[str, float]:
    """The metrics of one trial, without those on the validation images."""
    metrics = {k: v for k, v in result.metrics.items() if not k.startswith("validation")}
    return {**metrics, "final_loss": result.series["hard"][-1]}


REPRODUCTION = Reproduction("romero2015fitnets", arms, measure)
