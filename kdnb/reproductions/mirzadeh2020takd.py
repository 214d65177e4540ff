"""Mirzadeh et al. 2020, "Improved Knowledge Distillation via Teacher Assistant", on CIFAR-10.

Plain networks of 2 to 10 layers. The student has two; it learns alone, from a teacher of every
size, and from the largest teacher by way of assistants. All of it with one recipe and one pair of
weights, fixed before the first run: the paper searches temperature and weight in 120 trials and
prints the best test accuracy, we print the last epoch. `cho2019efficacy` shares these trials.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.reproductions.setting import TEST_IMAGES, Precision
from kdnb.reproductions.setting import setting as common_setting
from kdnb.runs import chains
from kdnb.runs.trials import Result, Trial

STUDENT = 2  # layers, as everywhere below
TEACHERS = (4, 6, 8, 10)
ASSISTANTS = (8, 6, 4)


class Parameters(BaseModel):
    """What the records are made with; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: Literal["cifar10", "cifar100", "fashion_mnist"] = "cifar10"
    train_images: int = Field(128, ge=64, le=40000)
    test_images: int = Field(200, ge=100, le=TEST_IMAGES)
    seeds: int = Field(2, ge=1, le=100, description="paired repetitions")
    epochs: int = Field(2, ge=1, le=1000, description="of teachers, assistants and students")
    precision: Precision = "32"
    arms: list[str] = Field(
        ["student", "taught_by_10", "via_4"], description="the arms to run; all when empty"
    )


PROFILES = {
    "quick": Parameters(),
    "laptop": Parameters(
        train_images=2048, test_images=5000, seeds=6, epochs=8, precision="bf16", arms=[]
    ),
    "full": Parameters(
        train_images=40000, test_images=TEST_IMAGES, seeds=10, epochs=150, precision="bf16", arms=[]
    ),
}


def arms(p: Parameters) -> Arms:
    """The student alone, the sweep over its teachers, and the ways from ten layers down to two."""
    found: Arms = {"student": lambda seed: alone(p, STUDENT, seed)}
    for size in TEACHERS:
        found[f"teacher{size}"] = lambda seed, size=size: alone(p, size, seed)
        found[f"taught_by_{size}"] = lambda seed, size=size: taught(p, (size, STUDENT), seed)
    for size in ASSISTANTS:
        found[f"assistant{size}"] = lambda seed, size=size: taught(p, (10, size), seed)
        found[f"via_{size}"] = lambda seed, size=size: taught(p, (10, size, STUDENT), seed)
    found["full_path"] = lambda seed: taught(p, (10, *ASSISTANTS, STUDENT), seed)
    return found


def alone(p: Parameters, size: int, seed: int, **recipe: Any) -> Trial:
    """A network of so many layers on labels; `recipe` replaces parts of the setting's."""
    common = setting(p)
    return chains.supervised(
        network(size), data=common["data"], recipe={**common["recipe"], **recipe}, seed=seed
    )


def taught(p: Parameters, sizes: tuple[int, ...], seed: int) -> Trial:
    """The last network of a chain that begins with a teacher of its first size."""
    return chains.chain([network(size) for size in sizes], **setting(p), seed=seed)[-1]


def network(size: int) -> dict[str, Any]:
    """The description of the plain network of so many layers."""
    return {"name": f"plain{size}"}


def setting(p: Parameters) -> dict[str, Any]:
    """What all arms share: data, recipe, loss and weights.

    Temperature 4 and weights 0.9 and 0.1 are those of the comparison protocol of Tian et al. 2020,
    fixed a priori; both lie within the ranges that the paper searches.
    """
    return {
        **common_setting(p),
        "loss": {"name": "soft_targets", "temperature": 4.0},
        "soft_weight": 0.9, "hard_weight": 0.1,
    }  # fmt: skip


def measure(arm: str, result: Result) -> dict[str, float]:
    """The shares of test and training images that are misclassified, in percent."""
    found = result.metrics
    tested = result.description["arguments"]["data"].get("evaluated", TEST_IMAGES)
    return {
        "test_error": 100 * found["test_errors"] / tested,
        "train_error": 100 * found["train_errors"] / found["train_images"],
        "test_cross_entropy": found["test_cross_entropy"],
    }


REPRODUCTION = Reproduction("mirzadeh2020takd", arms, measure)
