"""Polino et al. 2018, "Model compression via distillation and quantization", on CIFAR-10.

A small convolutional network learns with weights on 4 or 16 points, from labels or from a larger
teacher in full precision; the same network in full precision is rounded afterwards, with buckets and
without; and the points of the rounded one learn. Beside the paper's arms there is a control of ours:
each image gets the teacher's answer to another image of its class.

Departures: thousands of images instead of 50,000, smaller networks, Adam, and weights alone are
quantised, see `papers/polino2018/setting.md`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import TEST_IMAGES, Network
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

LOSS = {"temperature": 2.0, "soft_weight": 0.7, "label_weight": 0.3}  # the authors'
BUCKET = 256
ROUNDINGS = {
    "2": {"bits": 2, "bucket": BUCKET}, "2_whole": {"bits": 2, "bucket": None},
    "4": {"bits": 4, "bucket": BUCKET}, "4_whole": {"bits": 4, "bucket": None},
}  # fmt: skip


class Parameters(BaseModel):
    """What the records are made with; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(256, ge=64, le=45000, description="of teacher and student")
    test_images: int = Field(200, ge=100, le=TEST_IMAGES)
    epochs: int = Field(1, ge=1, le=1000, description="of every student")
    teacher_epochs: int = Field(1, ge=1, le=1000)
    student: Network = Field("plain2")
    student_width: float = Field(1.0, gt=0, le=8, description="factor of the student's channels")
    teacher: Network = Field("plain4")
    seeds: int = Field(1, ge=1, le=100, description="paired repetitions")
    arms: list[str] = Field(
        ["teacher", "full_kd", "trained2", "distilled2"],
        description="the arms to run; all when empty",
    )


LAPTOP = Parameters(
    train_images=4000, test_images=TEST_IMAGES, epochs=12, teacher_epochs=15, student="plain4",
    student_width=0.5, teacher="plain6", seeds=6, arms=[],
)  # fmt: skip
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(
        update={"train_images": 45000, "epochs": 60, "teacher_epochs": 60, "student_width": 1.0}
    ),
}


def arms(p: Parameters, split: str = "train_all") -> Arms:
    """The teacher, students in full precision, rounded, trained on few points; and learnt points.

    Args:
        split: "train" for pilots, in which validation images are scored.
    """
    evaluated = None if p.test_images == TEST_IMAGES else p.test_images
    data = data_spec("cifar10", split=split, limit=p.train_images, evaluated=evaluated)
    plain = {"batch_size": 64, "optimiser": "adam", "lr": 0.002, "schedule": "cosine",
             "precision": "32"}  # fmt: skip
    own: dict[str, Any] = {
        "data": data,
        "network": {"name": p.student, "width": p.student_width},
        "recipe": {**plain, "epochs": p.epochs},
    }

    def teacher(seed: int) -> Trial:
        moved = {"epochs": p.teacher_epochs, "crop_padding": 4, "flip": True}
        return Trial(
            "supervised",
            {"data": data, "network": {"name": p.teacher}, "recipe": {**plain, **moved}}, seed,
        )  # fmt: skip

    def full_kd(seed: int) -> Trial:
        soft = {"name": "soft_targets", "temperature": LOSS["temperature"]}
        weights = {"soft_weight": LOSS["soft_weight"], "hard_weight": LOSS["label_weight"]}
        return Trial("distilled", {**own, "teacher": teacher(seed), "loss": soft, **weights}, seed)

    def full(seed: int) -> Trial:
        return Trial("supervised", own, seed)

    def on_points(bits: int, **more: Any):
        few = {**own, "bits": bits, "bucket": BUCKET}
        return lambda seed: Trial("quantised_student", {**few, **more}, seed)

    def distilled(bits: int, **more: Any):
        few = {**own, "bits": bits, "bucket": BUCKET, **LOSS, **more}
        return lambda seed: Trial("quantised_student", {**few, "teacher": teacher(seed)}, seed)

    def points(bits: int):
        few = {**own, "bits": bits, "bucket": BUCKET, **LOSS}
        few["recipe"] = {**own["recipe"], "lr": 0.001}
        return lambda seed: Trial("quantised_points", {**few, "start": full_kd(seed)}, seed)

    def after(start):
        return lambda seed: Trial(
            "rounded_student", {"data": data, "start": start(seed), "roundings": ROUNDINGS}, seed
        )

    return {
        "teacher": teacher,
        "full": full,
        "full_kd": full_kd,
        "rounded": after(full),
        "rounded_kd": after(full_kd),
        "trained2": on_points(2),
        "distilled2": distilled(2),
        "distilled4": distilled(4),
        "shuffled2": distilled(2, shuffled=True),
        "points2": points(2),
        "points4": points(4),
    }


def conditions(p: Parameters) -> set[str]:
    """The arms that `measure` gives beside those that run."""
    return {f"{arm}{name}" for arm in ("rounded", "rounded_kd") for name in ROUNDINGS}


def measure(arm: str, result: Result) -> dict[str, float]:
    """Accuracies in percent; of what was rounded, as arms `<arm><bits>` and `<arm><bits>_whole`."""
    found, metrics = {}, result.metrics
    scored = result.description["arguments"]["data"].get("evaluated") or TEST_IMAGES
    images = {"validation": scored, "test": scored, "train": metrics.get("train_images", 0)}
    for name, value in metrics.items():
        if name.endswith("_errors"):
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
