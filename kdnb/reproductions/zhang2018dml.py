"""Zhang et al. 2018, "Deep Mutual Learning", on a part of CIFAR-10.

Networks of one size, or of two, learn together from labels and from one another's answers. The
control is as many networks, from the same initial weights, on the same images, for the same number of
steps, that do not see one another; and the ensemble of these.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import Network, Precision, setting
from kdnb.runs.trials import Result, Trial

NOISE = 0.02  # standard deviation of the weight noise under which the loss rises


class Parameters(BaseModel):
    """What the records are made with; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: Literal["cifar10", "cifar100"] = "cifar10"
    network: Network = Field("resnet8", description="every peer of the equal cohorts")
    larger: Network = Field("resnet14", description="the second peer of the unequal pair")
    train_images: int = Field(256, ge=64, le=40000)
    test_images: int = Field(500, ge=100, le=10000)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    epochs: int = Field(2, ge=1, le=1000)
    precision: Precision = "32"
    arms: list[str] = Field(
        ["independent", "mutual"], description="the arms to run; all when empty"
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=4096, test_images=10000, seeds=6, epochs=8, precision="bf16", arms=[]
    ),
    "full": Parameters(
        dataset="cifar100", network="resnet32", larger="wrn-28-10", train_images=40000,
        test_images=10000, seeds=5, epochs=200, precision="bf16", arms=[],
    ),
}  # fmt: skip


def arms(p: Parameters) -> Arms:
    """Mutual learning of two, three, five, of an unequal pair, with the ensemble as target; controls."""

    def cohort(networks: list[str], **more: Any):
        arguments = {
            **setting(p),
            "networks": [{"name": name} for name in networks],
            "noise": [NOISE],
            **more,
        }  # fmt: skip
        return lambda seed: Trial("mutual", arguments, seed)

    pair, unequal = [p.network] * 2, [p.network, p.larger]
    return {
        "independent": cohort(pair, weight=0.0),
        "mutual": cohort(pair),
        "ensemble_target": cohort(pair + [p.network], target="mean_logits"),
        "three_peers": cohort(pair + [p.network]),
        "five_peers": cohort(pair + [p.network] * 3),
        "unequal_independent": cohort(unequal, weight=0.0),
        "unequal_mutual": cohort(unequal),
    }


def measure(arm: str, result: Result) -> dict[str, float]:
    """Errors of the first two peers, of the mean and of the ensemble; entropy and flatness."""
    found = result.metrics
    return {
        "test_errors": found["mean_test_errors"],
        "first_errors": found["peer0_test_errors"],
        "second_errors": found["peer1_test_errors"],
        "ensemble_errors": found["ensemble_test_errors"],
        "train_errors": found["mean_train_errors"],
        "entropy": found["mean_train_entropy"],
        "loss_rise": found[f"mean_loss_rise_{NOISE:g}"],
    }


REPRODUCTION = Reproduction("zhang2018dml", arms, measure)
