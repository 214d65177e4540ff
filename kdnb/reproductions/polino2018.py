"""Polino et al. 2018, "Model compression via distillation and quantization", on CIFAR-10.

A small convolutional network learns with weights on 4 or 16 points, from labels or from a larger
teacher in full precision. The same network in full precision is rounded after training, with and
without buckets, and the points of the rounded network are learnt. In addition to the paper's arms we have
a control: each image gets the teacher's output for another image of its class.

Departures: the teacher learns from different images than the student; thousands of images instead of
50,000, smaller networks, Adam, and only weights are quantised. See `papers/polino2018/setting.md`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import TEST_IMAGES, Network
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

# Temperature and weights are those of mirzadeh2020takd's record.
LOSS = {"temperature": 4.0, "soft_weight": 0.9, "label_weight": 0.1}
BUCKET = 256
ALL = 50000  # training images: the teacher's are the first of them, the student's the last
ROUNDINGS = {
    "2": {"bits": 2, "bucket": BUCKET},
    "2_whole": {"bits": 2, "bucket": None},
    "4": {"bits": 4, "bucket": BUCKET},
    "4_whole": {"bits": 4, "bucket": None},
}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(128, ge=64, le=25000, description="of the student")
    teacher_images: int = Field(128, ge=64, le=25000)
    test_images: int = Field(200, ge=100, le=TEST_IMAGES)
    epochs: int = Field(1, ge=1, le=1000, description="of every student")
    teacher_epochs: int = Field(1, ge=1, le=1000)
    student: Network = Field("tiny")
    teacher: Network = Field("plain4")
    seeds: int = Field(1, ge=1, le=100, description="paired repetitions")
    arms: list[str] = Field(
        ["teacher", "full_kd", "rounded_kd", "distilled2"],
        description="the arms to run; all when empty",
    )


LAPTOP = Parameters(
    train_images=2000, teacher_images=10000, test_images=TEST_IMAGES, epochs=20, teacher_epochs=8,
    seeds=10, arms=[],
)  # fmt: skip
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(
        update={"train_images": 20000, "teacher_images": 25000, "epochs": 100,
                "teacher_epochs": 100, "student": "plain4", "teacher": "plain8", "seeds": 10}
    ),
}  # fmt: skip


def arms(p: Parameters) -> Arms:
    """The teacher; students in full precision, rounded, trained on few points; and learnt points.

    One teacher, of seed 0, teaches all seeds.
    """
    evaluated = None if p.test_images == TEST_IMAGES else p.test_images
    plain = {"batch_size": 64, "optimiser": "adam", "lr": 0.002, "schedule": "cosine",
             "precision": "32"}  # fmt: skip
    data = data_spec(
        "cifar10", split="train_all", skip=ALL - p.train_images, limit=p.train_images,
        evaluated=evaluated,
    )  # fmt: skip
    recipe = {**plain, "epochs": p.epochs}
    own: dict[str, Any] = {"data": data, "network": {"name": p.student}, "recipe": recipe}
    others = {
        "data": data_spec("cifar10", limit=p.teacher_images, evaluated=evaluated),
        "network": {"name": p.teacher},
        "recipe": {**plain, "epochs": p.teacher_epochs, "crop_padding": 4, "flip": True},
    }
    teacher = Trial("supervised", others, 0)

    def student(bits: int | None, taught: bool, **more: Any):
        few = {**own, "bits": bits, "bucket": BUCKET, **more}
        if taught:
            few |= {**LOSS, "teacher": teacher}
        return lambda seed: Trial("quantised_student", few, seed)

    full, full_kd = student(None, taught=False), student(None, taught=True)

    def points(bits: int):
        few = {**own, "bits": bits, "bucket": BUCKET, **LOSS, "recipe": {**recipe, "lr": 0.001}}
        return lambda seed: Trial("quantised_points", {**few, "start": full_kd(seed)}, seed)

    def after(start: Any):
        return lambda seed: Trial(
            "rounded_student", {"data": data, "start": start(seed), "roundings": ROUNDINGS}, seed
        )

    return {
        "teacher": lambda seed: teacher,
        "full": full,
        "full_kd": full_kd,
        "rounded": after(full),
        "rounded_kd": after(full_kd),
        "trained2": student(2, taught=False),
        "distilled2": student(2, taught=True),
        "distilled4": student(4, taught=True),
        "shuffled2": student(2, taught=True, shuffled=True),
        "points2": points(2),
    }


def conditions(p: Parameters) -> set[str]:
    """The arms that `measure` returns besides those that run."""
    return {f"{arm}{name}" for arm in ("rounded", "rounded_kd") for name in ROUNDINGS}


def measure(arm: str, result: Result) -> dict[str, float]:
    """Accuracies in percent; for rounded networks as arms `<arm><bits>` and `<arm><bits>_whole`."""
    found, metrics = {}, result.metrics
    scored = result.description["arguments"]["data"].get("evaluated") or TEST_IMAGES
    images = {"test": scored, "train": metrics.get("train_images", 0)}
    for name, value in metrics.items():
        if name.endswith("_errors") and "validation" not in name:  # validation uses training images
            owner, _, part = name.removesuffix("_errors").rpartition("_")
            start = f"{arm}{owner}." if owner else ""
            found[f"{start}{part}_accuracy"] = 100 * (1 - value / images[part])
    terms = [result.series[term] for term in ("hard", "soft") if term in result.series]
    if terms and len(terms[0]) > 1:
        before, last = (sum(term[k] for term in terms) for k in (-2, -1))
        found["last_change"] = 100 * abs(last / before - 1)
    if "bytes" in metrics:
        found["bytes"] = metrics["bytes"]
    return found


REPRODUCTION = Reproduction("polino2018", arms, measure)
