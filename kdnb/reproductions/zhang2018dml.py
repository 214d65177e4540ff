"""Zhang et al. 2018, "Deep Mutual Learning", on few images of CIFAR-10 and of Fashion-MNIST.

Networks of one size, or of two sizes, learn together from labels and from one another's outputs. The
control is the same number of networks, from the same initial weights, on the same images, for the same
number of steps, that do not see one another; and their ensemble. A second control doubles the loss,
because a peer's outputs are added to the labels and so make the steps larger.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import Network, Precision, setting
from kdnb.runs.trials import Result, Trial

NOISE = 0.05  # standard deviation of the weight noise under which the loss rises


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: Literal["cifar10", "cifar100"] = "cifar10"
    second: Literal["fashion_mnist"] | None = Field(
        None, description="another data set, for the equal pair"
    )
    network: Network = Field("tiny", description="every peer of the equal cohorts")
    larger: Network = Field("plain4", description="the second peer of the unequal pair")
    train_images: int = Field(256, ge=64, le=40000)
    test_images: int = Field(500, ge=100, le=10000)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    epochs: int = Field(2, ge=1, le=1000)
    lr: float = Field(0.05, gt=0, le=10, description="peak of the one-cycle learning rate")
    augment: bool = Field(False, description="random crops and flips")
    precision: Precision = "32"
    arms: list[str] = Field(
        ["independent", "mutual"], description="the arms to run; all when empty"
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        second="fashion_mnist", train_images=1000, test_images=10000, seeds=10, epochs=60,
        precision="bf16", arms=[],
    ),
    "full": Parameters(
        dataset="cifar100", network="resnet32", larger="wrn-28-10", train_images=40000,
        test_images=10000, seeds=5, epochs=200, lr=0.1, augment=True, precision="bf16", arms=[],
    ),
}  # fmt: skip


def arms(p: Parameters) -> Arms:
    """Mutual learning of two, three, five, of an unequal pair, with the ensemble as target; controls.

    Twice the loss 2 L at the rate r with decay d moves SGD exactly as L at 2 r with d / 2.
    """

    def cohort(networks: list[str], dataset: str | None = None, double: bool = False, **more: Any):
        common = setting(p, dataset=dataset, lr=p.lr, augment=p.augment)
        recipe = common["recipe"]
        if double:
            recipe |= {"lr": 2 * recipe["lr"], "weight_decay": recipe["weight_decay"] / 2}
        arguments = {
            **common,
            "networks": [{"name": name} for name in networks],
            "noise": [NOISE],
            **more,
        }  # fmt: skip
        return lambda seed: Trial("mutual", arguments, seed)

    pair, unequal = [p.network] * 2, [p.network, p.larger]

    def equal_pair(prefix: str, dataset: str) -> Arms:
        return {
            f"{prefix}independent": cohort(pair, dataset, weight=0.0),
            f"{prefix}mutual": cohort(pair, dataset),
            f"{prefix}twice_the_loss": cohort(pair, dataset, double=True, weight=0.0),
        }

    return {
        **equal_pair("", p.dataset),
        "ensemble_target": cohort(pair + [p.network], target="mean_logits"),
        "three_peers": cohort(pair + [p.network]),
        "five_peers": cohort(pair + [p.network] * 3),
        "unequal_independent": cohort(unequal, weight=0.0),
        "unequal_mutual": cohort(unequal),
        **(equal_pair("second_", p.second) if p.second else {}),
    }


def measure(arm: str, result: Result) -> dict[str, float]:
    """Errors of the first two peers, of the mean and of the ensemble; certainty and flatness."""
    found = result.metrics
    return {
        "test_errors": found["mean_test_errors"],
        "first_errors": found["peer0_test_errors"],
        "second_errors": found["peer1_test_errors"],
        "ensemble_errors": found["ensemble_test_errors"],
        "train_errors": found["mean_train_errors"],
        "test_cross_entropy": found["mean_test_cross_entropy"],
        "entropy": found["mean_train_entropy"],
        "loss_rise": found[f"mean_loss_rise_{NOISE:g}"],
    }


REPRODUCTION = Reproduction("zhang2018dml", arms, measure)
