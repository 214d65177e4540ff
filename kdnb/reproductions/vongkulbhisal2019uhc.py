"""Vongkulbhisal et al. 2019, "Unifying Heterogeneous Classifiers with Distillation", on small images.

Classifiers that each know some classes of Fashion-MNIST, or of MNIST, were trained on private images
of these classes. A student for all classes learns from their outputs for other images, which have
no labels. The naive student imitates the classifiers' outputs padded with zeros; the paper's methods
renormalise over the classes that each classifier knows. The upper bound for these images is a student of
their labels.

The class sets are our own: three that overlap in a ring, six of four classes, and two halves that share
no class, for which the relation determines nothing. Classifiers differ in width. The paper's data and
networks are larger; we had no access to its tables.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

ALL = 10000  # test images
SETS: dict[str, list[list[int]]] = {
    "overlap": [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [6, 7, 8, 9, 0]],
    "many": [
        [0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9], [8, 9, 0, 1], [0, 2, 4, 6],
    ],
    "disjoint": [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]],
}  # fmt: skip
WIDTHS = (128, 256, 64)  # of the classifiers' hidden layers, in turn
STUDENT = {"name": "mlp", "widths": [128, 128]}
# Arm -> how the classifiers' outputs become a target, see `kdnb.methods.multi_teacher.uhc`.
TARGETS = {
    "naive": "zero_padded", "ce": "cross_entropy", "bp": "backpropagated", "mf_log": "log_space",
    "mf": "factorised", "known": "known_mean", "confident": "most_confident",
    "logits": "raw_logits",
}  # fmt: skip
# Prefix of the arms -> data set, class sets, targets.
CONDITIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "": ("fashion_mnist", "overlap", tuple(TARGETS)),
    "many_": ("fashion_mnist", "many", ("naive", "ce", "bp", "mf_log", "known")),
    "disjoint_": ("fashion_mnist", "disjoint", ("naive", "ce", "bp")),
    "mnist_": ("mnist", "overlap", ("naive", "ce", "bp")),
}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    private_images: int = Field(
        2000, ge=100, le=25000, description="of which each classifier sees those of its classes"
    )
    transfer_images: int = Field(
        1000, ge=100, le=25000, description="other images, without labels for all but the control"
    )
    test_images: int = Field(2000, ge=100, le=ALL)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    classifier_epochs: int = Field(12, ge=1, le=1000)
    epochs: int = Field(30, ge=1, le=1000, description="of every student")
    arms: list[str] = Field(
        ["labels", "naive", "ce", "bp"], description="the arms to run; all when empty"
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        private_images=10000, transfer_images=5000, test_images=ALL, seeds=7, arms=[]
    ),
    "full": Parameters(
        private_images=25000, transfer_images=25000, test_images=ALL, seeds=20, epochs=60, arms=[]
    ),
}  # fmt: skip


def arms(p: Parameters) -> Arms:
    """Students of labels, private and not, and students of the classifiers by every rule.

    Private images and transfer images are disjoint parts of the training images. Students
    of one seed and data set start from the same weights and see the same images in the same order.
    """
    evaluated = None if p.test_images == ALL else p.test_images

    def private(dataset: str, only: tuple[int, ...] = ()) -> dict[str, Any]:
        return data_spec(dataset, limit=p.private_images, only=only, evaluated=evaluated)

    def transfer(dataset: str) -> dict[str, Any]:
        return data_spec(
            dataset, skip=p.private_images, limit=p.transfer_images, evaluated=evaluated
        )

    def recipe(epochs: int) -> dict[str, Any]:
        return {"epochs": epochs, "batch_size": 128, "optimiser": "adam", "lr": 0.002,
                "schedule": "one_cycle", "precision": "32"}  # fmt: skip

    def classifiers(dataset: str, sets: str, seed: int) -> list[Trial]:
        def one(number: int, only: list[int]) -> Trial:
            width = WIDTHS[number % len(WIDTHS)]
            arguments = {
                "data": private(dataset, tuple(only)),
                "network": {"name": "mlp", "widths": [width, width]},
                "recipe": recipe(p.classifier_epochs),
            }
            return Trial("specialist", arguments, seed + 1000 * number)

        return [one(number, only) for number, only in enumerate(SETS[sets])]

    def labelled(data: dict[str, Any]):
        arguments = {"data": data, "network": STUDENT, "recipe": recipe(p.epochs)}
        return lambda seed: Trial("supervised", arguments, seed)

    def taught(dataset: str, sets: str, target: str):
        common = {"data": transfer(dataset), "network": STUDENT, "recipe": recipe(p.epochs)}

        def arm(seed: int) -> Trial:
            more = {"classifiers": classifiers(dataset, sets, seed), "estimate": TARGETS[target]}
            return Trial("unified", {**common, **more}, seed)

        return arm

    found: Arms = {
        "labels": labelled(transfer("fashion_mnist")),
        "central": labelled(private("fashion_mnist")),
        "mnist_labels": labelled(transfer("mnist")),
    }
    for prefix, (dataset, sets, targets) in CONDITIONS.items():
        for target in targets:
            found[prefix + target] = taught(dataset, sets, target)
    return found


def measure(arm: str, result: Result) -> dict[str, float]:
    """Accuracies in percent of the student and of the target itself; training errors; premises."""
    found, seen = result.metrics, result.description["arguments"]["data"].get("evaluated", ALL)
    measured = {
        "accuracy": 100 * (1 - found["test_errors"] / seen),
        "test_errors": found["test_errors"],
        "train_error": 100 * found["train_errors"] / found["train_images"],
    }
    if "estimate_test_errors" in found:
        measured["target_accuracy"] = 100 * (1 - found["estimate_test_errors"] / seen)
    for name in ("least_own_accuracy", "best_single_accuracy", "connected"):
        if name in found:
            measured[name] = found[name]
    return measured


REPRODUCTION = Reproduction("vongkulbhisal2019uhc", arms, measure)
