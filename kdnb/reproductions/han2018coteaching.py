"""Han et al. 2018, "Co-teaching": do two networks that exchange small-loss samples resist wrong labels?

Perceptrons learn MNIST at half its resolution, with 45% of the labels changed to the next class, or half of
them to random wrong ones. Co-teaching is compared with plain training, and with networks that keep their own
small-loss samples.

Departures: few images, perceptrons and fewer epochs; see `papers/han2018coteaching/setting.md`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.task import data_spec
from kdnb.runs.trials import Result, Trial

NOISES: dict[str, dict[str, Any]] = {
    "pair": {"kind": "pair", "rate": 0.45},
    "symmetric": {"kind": "symmetric", "rate": 0.5},
}
PICKS = {"coteaching": "other", "own": "self", "standard": "all"}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    train_images: int = Field(500, ge=100, le=60000)
    test_images: int = Field(500, ge=100, le=10000)
    hidden: int = Field(64, ge=8, le=4096, description="units of each hidden layer")
    epochs: int = Field(6, ge=5, le=1000)
    ramp_epochs: int = Field(2, ge=1, le=1000, description="in which the share kept falls")
    batch_size: int = Field(64, ge=2, le=4096)
    rate: float = Field(2e-3, gt=0, le=1, description="Adam's")
    seeds: int = Field(1, ge=1, le=1000, description="paired repetitions")
    scored: str = Field("test", pattern="^(test|validation)$", description="validation in pilots")
    arms: list[str] = Field([], description="the arms to run; all when empty")


LAPTOP = Parameters(
    train_images=6000, test_images=5000, hidden=256, epochs=40, ramp_epochs=10, batch_size=128,
    rate=2e-3, seeds=6,
)  # fmt: skip
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(
        update={"train_images": 60000, "test_images": 10000, "hidden": 1024, "epochs": 200}
    ),
}


def arms(p: Parameters) -> Arms:
    """Each way of selecting samples with each kind of noise, such as `coteaching_pair`."""
    split = "train_all" if p.scored == "test" else "train"
    shared = {
        "data": data_spec("mnist", split=split, limit=p.train_images, evaluated=p.test_images),
        "hidden": p.hidden,
        "plan": {"epochs": p.epochs, "ramp_epochs": p.ramp_epochs, "batch_size": p.batch_size, "rate": p.rate},
        "scored": p.scored,
    }  # fmt: skip
    return {
        f"{name}_{kind}": _arm({**shared, "noise": noise, "pick": pick})
        for kind, noise in NOISES.items()
        for name, pick in PICKS.items()
    }


def _arm(arguments: dict[str, Any]):
    return lambda seed: Trial("label_noise", arguments, seed)


def measure(arm: str, result: Result) -> dict[str, float]:
    """All metrics of the trial."""
    return dict(result.metrics)


REPRODUCTION = Reproduction("han2018coteaching", arms, measure)
