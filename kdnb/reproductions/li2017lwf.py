"""Li and Hoiem 2017, "Learning without Forgetting", on the digits of MNIST in successive contexts.

The paper's own tables are for ImageNet networks. Two protocols replace them. In the first, five
contexts of two digits follow one another (Split MNIST), in the three scenarios and with the weights of
van de Ven and Tolias (2018), whose table has LwF, its bounds and EWC. The second asks the paper's own
question: a network that knows five digits learns the five others, with two heads, compared with fine-tuning,
feature extraction and joint training.

Every seed draws the order of the digits, the initial weights and the order of the images. All conditions of a
seed and scenario start from the same weights.

Departures: batches of 32 images instead of 128, and one pass over 8,000 images per context instead of 2,000
iterations; a premise requires that each context is learnt when it appears. Pairs have 15,000 images per
context.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.functions.lifelong import lifelong_spec
from kdnb.runs.trials import Result, Trial

ALL = 10000  # test images
NONE = {"name": "fine_tune"}
JOINT = {"name": "train_jointly"}
LWF = {"name": "lwf", "weighting": "contexts"}
# Prefix of the arms -> scenario, contexts, and the methods by the rest of their names.
CONDITIONS: dict[str, tuple[str, int, dict[str, dict[str, Any]]]] = {
    "task_": ("task", 5, {
        "none": NONE, "lwf": LWF, "joint": JOINT, "shuffled": {**LWF, "shuffled": True},
        "ewc": {"name": "ewc", "strength": 1e5, "samples": 200},
    }),
    "domain_": ("domain", 5, {"none": NONE, "lwf": LWF}),
    "class_": ("class", 5, {
        "none": NONE, "lwf": LWF, "joint": JOINT, "icarl": {"name": "icarl", "memory": 2000},
    }),
    "pair_": ("task", 2, {
        "none": NONE, "frozen": {"name": "fine_tune", "body": "frozen"},
        "lwf": {"name": "lwf", "weighting": "paper"}, "joint": JOINT,
    }),
}  # fmt: skip


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    epochs: int = Field(1, ge=1, le=1000, description="of every context")
    batch_size: int = Field(32, ge=1, le=1000)
    width: int = Field(100, ge=1, le=10000, description="units of both hidden layers")
    train_images: int = Field(10000, ge=100, le=60000, description="in five contexts together")
    pair_images: int = Field(5000, ge=100, le=60000, description="in two contexts together")
    test_images: int = Field(2000, ge=100, le=ALL)
    seeds: int = Field(1, ge=1, le=1000, description="paired repetitions, each with its own order")
    arms: list[str] = Field(
        ["task_none", "task_lwf", "task_joint"], description="the arms to run; all when empty"
    )


LAPTOP = Parameters(
    width=400, train_images=40000, pair_images=30000, test_images=ALL, seeds=10, arms=[]
)
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(
        update={
            "epochs": 21,
            "batch_size": 128,
            "train_images": 60000,
            "pair_images": 60000,
            "seeds": 20,
        }
    ),
}


def arms(p: Parameters) -> Arms:
    """One trial for each condition."""
    evaluated = None if p.test_images == ALL else p.test_images

    def arm(scenario: str, contexts: int, method: dict[str, Any]):
        limit = p.train_images if contexts == 5 else p.pair_images
        arguments = {
            "data": lifelong_spec("mnist", limit=limit, evaluated=evaluated),
            "network": {"name": "mlp", "widths": [p.width, p.width]},
            "recipe": {"epochs": p.epochs, "batch_size": p.batch_size, "optimiser": "adam",
                       "lr": 0.001, "schedule": "constant", "precision": "32"},
            "contexts": contexts, "scenario": scenario, "method": method,
        }  # fmt: skip
        return lambda seed: Trial("lifelong", arguments, seed)

    return {
        prefix + name: arm(scenario, contexts, method)
        for prefix, (scenario, contexts, methods) in CONDITIONS.items()
        for name, method in methods.items()
    }


def measure(arm: str, result: Result) -> dict[str, float]:
    """The measurements of a trial, in percent."""
    return dict(result.metrics)


REPRODUCTION = Reproduction("li2017lwf", arms, measure)
