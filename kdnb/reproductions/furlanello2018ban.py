"""Furlanello et al. 2018, "Born Again Neural Networks", on a part of CIFAR-10.

A network learns from labels; one like it, from fresh weights, learns from its answers alone; the
next one from that one's answers. Two controls take the answers apart (CWTM, DKPP). Generations
are compared with their teacher, as in the paper, and with a network that starts from the same
weights, sees the same images in the same order and learns from labels.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdnb.methods.self_distillation import fresh_seed
from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import Network, Precision, setting
from kdnb.runs.trials import Result, Trial

GENERATIONS = 3  # taught ones
ENSEMBLES = (2, 3)  # members, the first of them generation 0


class Parameters(BaseModel):
    """What the records of this paper and of Tf-KD are made with; the defaults are `quick`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: Literal["cifar10", "cifar100"] = "cifar10"
    network: Network = Field("resnet8", description="of every generation; the student of Tf-KD")
    larger: Network = Field("resnet20", description="Tf-KD's teacher, and the student in Re-KD")
    train_images: int = Field(512, ge=64, le=50000)
    test_images: int = Field(500, ge=100, le=10000)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    epochs: int = Field(2, ge=1, le=1000)
    poor_epochs: int = Field(1, ge=1, le=1000, description="of Tf-KD's poorly trained teacher")
    precision: Precision = "32"
    arms: list[str] = Field(
        ["generation0", "generation1", "independent1"],
        description="the arms to run; all when empty",
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=4096, test_images=10000, seeds=6, epochs=8, precision="bf16", arms=[]
    ),
    "full": Parameters(
        dataset="cifar100", network="wrn-28-2", larger="wrn-40-2", train_images=50000, test_images=10000, seeds=5,
        epochs=200, precision="bf16", arms=[],
    ),
}  # fmt: skip


def arms(p: Parameters) -> Arms:
    """Four generations, BAN+L, CWTM, DKPP, independent networks, and ensembles of both.

    Departures: BAN+L weighs labels and answers alike (recalled); which generations the paper's
    ensembles hold is recalled too: ours begin with generation 0.
    """
    same = {**setting(p), "network": {"name": p.network}}

    def independent(number: int) -> Any:
        """Learns from labels, from the weights that this generation starts from."""
        return lambda seed: Trial("supervised", same, fresh_seed(seed, number))

    def taught(teacher: Any, **more: Any) -> Any:
        function = "born_again"
        return lambda seed: Trial(function, {**same, **more, "teacher": teacher(seed)}, seed)

    def ensemble(line: list[Any]) -> Any:
        function = "ensemble"
        return lambda seed: Trial(
            function, {"data": same["data"], "members": [one(seed) for one in line]}, seed
        )

    alone = [independent(number) for number in range(max(ENSEMBLES))]
    line = alone[:1]
    for _ in range(GENERATIONS):
        line.append(taught(line[-1]))
    return {
        **{f"generation{number}": arm for number, arm in enumerate(line)},
        "with_labels": taught(line[0], hard_weight=1.0),
        "cwtm": taught(line[0], targets="cwtm"),
        "dkpp": taught(line[0], targets="dkpp"),
        **{f"independent{number}": arm for number, arm in enumerate(alone) if number},
        **{f"generations_ensemble{n}": ensemble(line[:n]) for n in ENSEMBLES},
        **{f"independent_ensemble{n}": ensemble(alone[:n]) for n in ENSEMBLES},
    }


def measure(arm: str, result: Result) -> dict[str, float]:
    """Test errors and cross-entropy; errors on the training images, of an ensemble its members'."""
    found = result.metrics
    other = "mean_member_errors" if "members" in found else "train_errors"
    return {name: found[name] for name in ("test_errors", "test_cross_entropy", other)}


REPRODUCTION = Reproduction("furlanello2018ban", arms, measure)
