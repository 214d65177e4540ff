"""Wang et al. 2018, "KDGAN: Knowledge Distillation with Generative Adversarial Networks", on MNIST.

A small classifier has only a hundred labelled images. It learns from the labels, from a
LeNet-5 that saw the same images, together with it (co-distillation), against a critic (NaGAN), or
in the game of three; some of these are repeated with a thousand images.

Classifier, teacher and critic first learn from the labels, as in the authors' code. Then the game
or a control begins, from the same trained networks and for the same number of steps. Co-distillation is
the game of three with labels instead of the critic, so it shows what the critic adds. In two
controls of the teacher's information the LeNet-5 is untrained. In two more games the classifier is
untrained, so that the epochs that a game needs can be counted.

Every seed has its own images. Some choices are ours, because what we could read does not state
them: the classifier is an MLP with one hidden layer, the critic another of the same shape, and all
learn with Adam at a rate that falls to 0. `papers/wang2018kdgan/setting.md` explains how the rest
was chosen.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.functions.online import peer_seed
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

TEACHER = {"name": "lenet5"}
TEMPERATURE = 4.0  # for plain distillation
CLASSIFIER_WEIGHT, TEACHER_WEIGHT = 0.1, 0.01
SAMPLES = [1.0, 0.1]  # temperature of the concrete samples: first, last
BLOCK = 1000  # training images for each seed
ALL = 10000


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    labelled: int = Field(100, ge=32, le=BLOCK, description="training images")
    more_labelled: int = Field(BLOCK, ge=32, le=BLOCK, description="of the arms named so")
    test_images: int = Field(1000, ge=100, le=ALL)
    seeds: int = Field(2, ge=1, le=40, description="paired repetitions, each with its own images")
    epochs: int = Field(30, ge=10, le=10000, description="on labels, then as many of the game")
    more_epochs: int = Field(10, ge=10, le=10000, description="the same with more images")
    fresh_epochs: int = Field(60, ge=10, le=10000, description="of untrained classifiers' games")
    width: int = Field(128, ge=2, le=4096, description="hidden units of classifier and critic")
    arms: list[str] = Field(
        ["student", "distilled", "codistilled", "nagan", "kdgan"],
        description="the arms to run; all when empty",
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        test_images=ALL, seeds=10, epochs=60, more_epochs=10, fresh_epochs=60, arms=[]
    ),
    "full": Parameters(
        test_images=ALL, seeds=40, epochs=500, more_epochs=100, fresh_epochs=2000, width=800,
        arms=[],
    ),
}  # fmt: skip


def setting(p: Parameters, seed: int, labelled: int, epochs: int) -> dict[str, Any]:
    """Data and recipe of every network of a seed, all on the same labelled images."""
    evaluated = None if p.test_images == ALL else p.test_images
    first = seed % 50 * BLOCK or None
    return {
        "data": data_spec("mnist", skip=first, limit=labelled, evaluated=evaluated),
        "recipe": {"epochs": epochs, "batch_size": 25, "optimiser": "adam", "lr": 1e-3,
                   "schedule": "cosine", "precision": "32"},
    }  # fmt: skip


def arms(p: Parameters) -> Arms:
    """The classifier on labels, taught, beside its teacher, and in the games of two and three."""

    def few(name: str):
        return lambda seed: conditions(p, seed, p.labelled, p.epochs)[name]

    def more(name: str):
        return lambda seed: conditions(p, seed, p.more_labelled, p.more_epochs)[name]

    common = conditions(p, 0, p.labelled, p.epochs)
    games = ("codistilled", "kdgan")
    return {
        **{name: few(name) for name in common},
        **{f"more_{name}": more(name) for name in games},
    }


def conditions(p: Parameters, seed: int, labelled: int, epochs: int) -> dict[str, Trial]:
    """Every condition of one seed."""
    small = {"name": "mlp", "widths": [p.width]}
    half, whole = (setting(p, seed, labelled, e) for e in (epochs, 2 * epochs))
    fresh = setting(p, seed, labelled, p.fresh_epochs)
    still = {**half, "recipe": half["recipe"] | {"epochs": 1, "lr": 1e-12, "optimiser": "sgd"}}

    def labels(network: dict[str, Any], common: dict[str, Any], number: int = 0) -> Trial:
        return Trial("supervised", {**common, "network": network}, peer_seed(seed, number))

    start, master, critic = labels(small, half), labels(TEACHER, half), labels(small, half, 1)
    teacher, untrained = labels(TEACHER, whole), labels(TEACHER, still, 2)

    def taught(by: Trial) -> Trial:
        loss = {"name": "soft_targets", "temperature": TEMPERATURE}
        more = {"network": small, "teacher": by, "hard_weight": 1.0, "loss": loss}
        return Trial("distilled", {**whole, **more}, seed)

    def game(common: dict[str, Any], *, by: Trial | None = None, judged: bool = True, **more: Any):
        arguments = {**common, "network": small, **more}
        if by is not None:
            weights = {"classifier_weight": CLASSIFIER_WEIGHT, "teacher_weight": TEACHER_WEIGHT}
            arguments |= {"teacher": by, **weights}
        if judged:
            arguments |= {"critic": small, "critic_start": critic, "temperature": SAMPLES}
        return Trial("kdgan", arguments, seed)

    return {
        "student": labels(small, whole),
        "start": start,
        "teacher": teacher,
        "distilled": taught(teacher),
        "distilled_by_untrained": taught(untrained),
        "codistilled": game(half, by=master, judged=False, start=start),
        "nagan": game(half, start=start),
        "kdgan": game(half, by=master, start=start),
        "kdgan_with_untrained": game(half, by=untrained, start=start),
        "nagan_from_scratch": game(fresh),
        "kdgan_from_scratch": game(fresh, by=master),
    }


def measure(arm: str, result: Result) -> dict[str, float]:
    """Test accuracy and training errors in percent; for games also how soon they reached it."""
    found, seen = result.metrics, result.description["arguments"]["data"].get("evaluated", ALL)
    measured = {
        "accuracy": 100 * (1 - found["test_errors"] / seen),
        "train_error": 100 * found["train_errors"] / found["train_images"],
        "cross_entropy": found["test_cross_entropy"],
    }
    if "epochs_needed" in found:
        measured["epochs_needed"] = found["epochs_needed"]
    if "teacher_test_errors" in found:  # the teacher after the game
        measured["teacher_accuracy"] = 100 * (1 - found["teacher_test_errors"] / seen)
    return measured


REPRODUCTION = Reproduction("wang2018kdgan", arms, measure)
