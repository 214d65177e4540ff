"""Furlanello et al. 2018, "Born Again Neural Networks", on few images of CIFAR-10 and a second set.

A network learns from labels; another of the same kind, from new weights, learns only from the
first one's outputs; the next from the outputs of the second. Two controls separate the parts of the
outputs (CWTM, DKPP). Generations are compared with their teacher, as in the paper, and with a network
that starts from the same weights, sees the same images in the same order and learns from labels.

`papers/furlanello2018ban/setting.md` explains why the images are few and the training is long.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdnb.methods.self_distillation import fresh_seed
from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions import setting as shared
from kdnb.reproductions.setting import Network, Precision
from kdnb.runs.trials import Result, Trial

GENERATIONS = 3  # distilled generations
ENSEMBLES = (2, 3)  # members, the first of them generation 0
SOFTENED = 4.0  # a declared departure: the paper has no temperature
# Added to the seeds of the arms `confidence_...`, whose setting was chosen on the other seeds.
FRESH = 5000


class Parameters(BaseModel):
    """The parameters of the records of this paper and of Tf-KD; the defaults are `quick`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: Literal["cifar10", "cifar100"] = "cifar10"
    second: Literal["fashion_mnist", "cifar10"] = Field(
        "fashion_mnist", description="the data set of the arms `second_data_...`"
    )
    network: Network = Field("tiny", description="of every generation; the student of Tf-KD")
    larger: Network = Field("plain4", description="Tf-KD's teacher, and the student in Re-KD")
    train_images: int = Field(256, ge=64, le=50000)
    test_images: int = Field(500, ge=100, le=10000)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    epochs: int = Field(2, ge=1, le=1000)
    lr: float = Field(0.05, gt=0, le=1, description="the peak of the one-cycle schedule")
    augment: bool = Field(False, description="crops and flips")
    poor_epochs: int = Field(1, ge=1, le=1000, description="of Tf-KD's poorly trained teacher")
    precision: Precision = "32"
    arms: list[str] = Field(
        ["generation0", "generation1", "independent1"],
        description="the arms to run; all when empty",
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=1000, test_images=10000, seeds=16, epochs=60, precision="bf16", arms=[]
    ),
    "full": Parameters(
        dataset="cifar100", second="cifar10", network="wrn-28-2", larger="wrn-40-2", lr=0.1,
        augment=True, train_images=50000, test_images=10000, seeds=5, epochs=200, precision="bf16",
        arms=[],
    ),
}  # fmt: skip


def setting(p: Parameters, dataset: str | None = None) -> dict[str, Any]:
    """Data and recipe of every training of this paper and of Tf-KD."""
    return shared.setting(p, dataset=dataset, lr=p.lr, augment=p.augment)


def arms(p: Parameters) -> Arms:
    """Four generations, BAN+L, CWTM, DKPP, independent networks, and ensembles of both.

    The arms `softened_...` learn at temperature 4. Those of `second_data_...` are the first
    generation and its control on another data set; `confidence_...` are CWTM and the first generation
    there at temperature 4, with new seeds.

    Departures: BAN+L weights labels and outputs equally (recalled); the generations in the paper's
    ensembles are recalled too: ours begin with generation 0. The paper has no temperature.
    """
    same = {**setting(p), "network": {"name": p.network}}
    alone = [_independent(same, number) for number in range(max(ENSEMBLES))]
    line, softened = alone[:1], alone[:1]
    for _ in range(GENERATIONS):
        line.append(_taught(same, line[-1]))
    for _ in range(2):
        softened.append(_taught(same, softened[-1], temperature=SOFTENED))
    return {
        **{f"generation{number}": arm for number, arm in enumerate(line)},
        "with_labels": _taught(same, line[0], hard_weight=1.0),
        "cwtm": _taught(same, line[0], targets="cwtm"),
        "dkpp": _taught(same, line[0], targets="dkpp"),
        **{f"independent{number}": arm for number, arm in enumerate(alone) if number},
        **{f"softened_generation{n}": arm for n, arm in enumerate(softened) if n},
        "softened_dkpp": _taught(same, line[0], targets="dkpp", temperature=SOFTENED),
        **{f"generations_ensemble{n}": _ensemble(line[:n]) for n in ENSEMBLES},
        **{f"independent_ensemble{n}": _ensemble(alone[:n]) for n in ENSEMBLES},
        **{f"second_data_{name}": arm for name, arm in _first_generation(p).items()},
        **{f"confidence_{name}": arm for name, arm in _confidence(p).items()},
    }


def _first_generation(p: Parameters) -> Arms:
    """Labels, the first generation and its control, on the second data set."""
    same = {**setting(p, p.second), "network": {"name": p.network}}
    first = _independent(same, 0)
    return {
        "generation0": first,
        "generation1": _taught(same, first),
        "with_labels": _taught(same, first, hard_weight=1.0),
        "independent1": _independent(same, 1),
        "softened_generation1": _taught(same, first, temperature=SOFTENED),
    }


def _confidence(p: Parameters) -> Arms:
    """CWTM and the first generation where softened outputs help: the second data set, with new seeds.

    In float32, which every processor supports; the older arms of the record are in bf16.
    """
    exact = p.model_copy(update={"precision": "32"})
    same = {**setting(exact, p.second), "network": {"name": p.network}}
    first = _independent(same, 0)
    arms = {
        "generation0": first,
        "independent1": _independent(same, 1),
        "generation1": _taught(same, first, temperature=SOFTENED),
        "cwtm": _taught(same, first, targets="cwtm", temperature=SOFTENED),
    }
    return {name: lambda seed, arm=arm: arm(FRESH + seed) for name, arm in arms.items()}


def _independent(same: dict[str, Any], number: int) -> Any:
    """A network that learns from labels, with the same initial weights as this generation."""
    return lambda seed: Trial("supervised", same, fresh_seed(seed, number))


def _taught(same: dict[str, Any], teacher: Any, **more: Any) -> Any:
    return lambda seed: Trial("born_again", {**same, **more, "teacher": teacher(seed)}, seed)


def _ensemble(line: list[Any]) -> Any:
    def of(seed: int) -> Trial:
        members = [one(seed) for one in line]
        return Trial("ensemble", {"data": members[0].arguments["data"], "members": members}, seed)

    return of


def measure(arm: str, result: Result) -> dict[str, float]:
    """Test errors and cross-entropy; training errors, for an ensemble those of its members."""
    found = result.metrics
    other = "mean_member_errors" if "members" in found else "train_errors"
    return {name: found[name] for name in ("test_errors", "test_cross_entropy", other)}


REPRODUCTION = Reproduction("furlanello2018ban", arms, measure)
