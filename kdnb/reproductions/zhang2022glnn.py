"""Zhang et al. 2022, "Graph-less Neural Networks": perceptrons taught by GraphSAGE, on three graphs.

Every seed draws a split: 20 nodes of each class for training, 30 for validation, the rest for the test. In
the transductive setting the teacher gives outputs for every node; in the inductive one a fifth of the test
nodes, and their edges, are absent while networks learn and teach. In addition there is local structure
preservation (Yang et al. 2020) between graph convolutions on Cora.

Departures: the last of 200 epochs instead of the one with the best validation score; one step per epoch on
all nodes instead of batches of 512; GraphSAGE uses all neighbours, not five sampled ones.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.functions.graph import TAUGHT, graph_spec
from kdnb.runs.trials import Result, Trial

MAIN = ["labels", "glnn"]
EVERY = [*MAIN, "smoothed", "few", *(name for name in TAUGHT if name != "glnn")]
STRUCTURES: dict[str, dict[str, Any]] = {
    "labels": {"weight": 0.0},
    "kept": {"weight": 1.0},
    "kept_strongly": {"weight": 100.0},
    "as_coded": {"weight": 1.0, "variant": "authors"},
}


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    epochs: int = Field(60, ge=1, le=100000, description="steps of every training")
    hidden: float = Field(0.2, gt=0, lt=1, description="share of test nodes away, inductive")
    seeds: int = Field(1, ge=1, le=1000, description="paired repetitions, each with its own split")
    arms: list[str] = Field(
        ["transductive", "inductive"], description="the arms to run; all when empty"
    )


LAPTOP = Parameters(epochs=200, seeds=10, arms=[])
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(update={"seeds": 100}),
}


def networks(p: Parameters, dataset: str) -> dict[str, dict[str, Any]]:
    """Widths, dropout and recipes of the authors' configuration for a data set."""

    def about(width: int, dropout: float, decay: float, lr: float = 0.01) -> dict[str, Any]:
        recipe = {"epochs": p.epochs, "optimiser": "adam", "lr": lr, "weight_decay": decay,
                  "schedule": "constant"}  # fmt: skip
        return {"width": width, "dropout": dropout, "recipe": recipe}

    mlp = {
        "cora": about(128, 0.6, 0.005),
        "citeseer": about(128, 0.1, 0.001),
        "pubmed": about(128, 0.4, 0.0, lr=0.005),
    }[dataset]
    return {"sage": about(128, 0.0, 0.0005), "gcn": about(64, 0.8, 0.001), "mlp": mlp}


def arms(p: Parameters) -> Arms:
    """One trial for each data set and setting; `measure` returns the conditions to compare."""

    def nodes(dataset: str, students: list[str], hidden: float = 0.0):
        arguments = {
            "data": graph_spec(dataset, hidden=hidden),
            "networks": networks(p, dataset),
            "students": students,
        }
        return lambda seed: Trial("glnn_nodes", arguments, seed)

    gcn = networks(p, "cora")["gcn"]
    structure = {
        "data": graph_spec("cora"),
        "networks": {"gcn": gcn, "narrow": {**gcn, "width": 8, "dropout": 0.0}},
        "students": STRUCTURES,
    }
    return {
        "transductive": nodes("cora", EVERY),
        "inductive": nodes("cora", MAIN, p.hidden),
        "citeseer": nodes("citeseer", MAIN),
        "citeseer_inductive": nodes("citeseer", MAIN, p.hidden),
        "pubmed": nodes("pubmed", MAIN),
        "pubmed_inductive": nodes("pubmed", MAIN, p.hidden),
        "structure": lambda seed: Trial("node_structure", structure, seed),
    }


def conditions(p: Parameters) -> set[str]:
    """The arms that `measure` returns besides those that run."""
    found = {f"structure_{name}" for name in ("teacher", *STRUCTURES)}
    for name, trial in arms(p).items():
        if name != "structure":
            students = trial(0).arguments["students"]
            found |= {f"{name}_{one}" for one in ("sage", *students)}
    return found | {f"transductive_{name}" for name in ("gcn", "rewired", "propagation")}


NAMES = {"test": "accuracy", "train": "train_accuracy", "hidden": "hidden_accuracy"}


def measure(arm: str, result: Result) -> dict[str, float]:
    """Metrics of each condition, as arms `<trial>_<condition>`; those of the graph as the trial's own."""
    found = {}
    for name, value in result.metrics.items():
        condition, _, on = name.rpartition("_")
        own = f"{arm}_{condition}.{NAMES.get(on, on)}" if condition else f"{arm}.{name}"
        found[own] = value
    return found


REPRODUCTION = Reproduction("zhang2022glnn", arms, measure)
