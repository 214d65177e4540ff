"""Wang et al. 2018, "KDGAN: Knowledge Distillation with Generative Adversarial Networks", on MNIST.

A small classifier has a hundred labelled images and no other. It learns from the labels, from a
LeNet-5 that saw the same images, together with it (co-distillation), against a discriminator
(NaGAN), or in the game of three; some of this again with a thousand images.

Ours, since not stated where we could read it: the classifier is an MLP with one hidden layer, the
discriminator another of the same shape, everybody learns with Adam at a rate that falls to 0, all
arms pass as often over their images. KDGAN's teacher starts trained, as in the paper. On `quick` and
`laptop` the classifier of both games starts from fresh weights and the temperature of the samples
is 1, as in the record (see `papers/wang2018kdgan/setting.md`): so the epochs that a game needs can
be counted. On `full` the classifier is trained on labels first and the temperature falls from 10 to
0.1, as in the authors' code.

Nothing was tuned. Two trial runs of seed 0, watched on validation images, settled the rest: a
LeNet-5 as discriminator left NaGAN at chance, so it is an MLP; and under a constant rate the games
swing by ten points from epoch to epoch, so the rate falls. The weights of what classifier and
teacher learn from each other's logits, 0.1 and 0.01, are the first that were tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.methods.adversarial.kdgan import TEMPERATURES
from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

TEACHER = {"name": "lenet5"}
TEMPERATURE = 4.0  # of plain distillation
CLASSIFIER_WEIGHT, TEACHER_WEIGHT = 0.1, 0.01
ALL = 10000


class Parameters(BaseModel):
    """What the records are made with; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    labelled: int = Field(100, ge=32, le=60000, description="training images")
    more_labelled: int = Field(1000, ge=32, le=60000, description="of the arms named so")
    test_images: int = Field(1000, ge=100, le=ALL)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    epochs: int = Field(30, ge=10, le=10000, description="passes over the labelled images")
    more_epochs: int = Field(10, ge=10, le=10000, description="where there are more of them")
    width: int = Field(128, ge=2, le=4096, description="hidden units of classifier and judge")
    arms: list[str] = Field(
        ["student", "distilled", "nagan", "kdgan"], description="the arms to run; all when empty"
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(test_images=ALL, seeds=6, epochs=300, more_epochs=60, arms=[]),
    "full": Parameters(
        test_images=ALL, seeds=10, epochs=2000, more_epochs=400, width=800, arms=[]
    ),
}  # fmt: skip


def setting(p: Parameters, labelled: int, epochs: int) -> dict[str, Any]:
    """Data and recipe of every network, all of them on the same labelled images."""
    evaluated = None if p.test_images == ALL else p.test_images
    return {
        "data": data_spec("mnist", limit=labelled, evaluated=evaluated),
        "recipe": {"epochs": epochs, "batch_size": 32, "optimiser": "adam", "lr": 1e-3,
                   "schedule": "cosine", "precision": "32"},
    }  # fmt: skip


def arms(p: Parameters) -> Arms:
    """The classifier on labels, taught, beside its teacher, and in the games of two and three."""
    small = {"name": "mlp", "widths": [p.width]}

    def trained(common: dict[str, Any], network: dict[str, Any]) -> Callable[[int], Trial]:
        arguments = {**common, "network": network}
        return lambda seed: Trial("supervised", arguments, seed)

    def together(common: dict[str, Any]) -> Callable[[int], Trial]:
        arguments = {**common, "networks": [small, TEACHER]}
        return lambda seed: Trial("mutual", arguments, seed)

    def game(common: dict[str, Any], teacher: Callable[[int], Trial] | None = None):
        arguments = {**common, "network": small, "critic": small}
        weights = {"classifier_weight": CLASSIFIER_WEIGHT, "teacher_weight": TEACHER_WEIGHT}

        def trial(seed: int) -> Trial:
            more = {"teacher": teacher(seed), **weights} if teacher else {}
            if p.width >= PROFILES["full"].width:
                more |= {"start": trained(common, small)(seed), "temperature": list(TEMPERATURES)}
            return Trial("kdgan", {**arguments, **more}, seed)

        return trial

    few, more = setting(p, p.labelled, p.epochs), setting(p, p.more_labelled, p.more_epochs)
    teacher, more_teacher = trained(few, TEACHER), trained(more, TEACHER)

    def distilled(seed: int) -> Trial:
        arguments = {
            **few, "network": small, "teacher": teacher(seed), "hard_weight": 1.0,
            "loss": {"name": "soft_targets", "temperature": TEMPERATURE},
        }  # fmt: skip
        return Trial("distilled", arguments, seed)

    return {
        "student": trained(few, small),
        "teacher": teacher,
        "distilled": distilled,
        "codistilled": together(few),
        "nagan": game(few),
        "kdgan": game(few, teacher),
        "more_student": trained(more, small),
        "more_teacher": more_teacher,
        "more_codistilled": together(more),
        "more_kdgan": game(more, more_teacher),
    }


def measure(arm: str, result: Result) -> dict[str, float]:
    """Test accuracy in percent at the last epoch; of the games also how soon they were there."""
    found, seen = result.metrics, result.description["arguments"]["data"].get("evaluated", ALL)
    wrong = found["peer0_test_errors" if arm.endswith("codistilled") else "test_errors"]
    measured = {"test_errors": wrong, "accuracy": 100 * (1 - wrong / seen)}
    if "epochs_needed" in found:
        measured["epochs_needed"] = found["epochs_needed"]
    # What became of the teacher that played along.
    for name in ("teacher_test_errors", "peer1_test_errors"):
        if name in found:
            measured["teacher_accuracy"] = 100 * (1 - found[name] / seen)
    return measured


REPRODUCTION = Reproduction("wang2018kdgan", arms, measure)
