"""Offline distillation as runs: described by JSON values, memoised on disk."""

from __future__ import annotations

import functools
import json
from typing import Any

from kdnb import data as datasets
from kdnb.data import Batches, Images
from kdnb.methods.catalogue import METHODS, check_revision
from kdnb.methods.names import known_as
from kdnb.methods.offline.distil import distil, train
from kdnb.methods.offline.eskd import distil_then_labels
from kdnb.nets.checkpoints import restore
from kdnb.runs.task import loss_of, network_of, prepared
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training.devices import default_device
from kdnb.training.inputs import examples_of
from kdnb.training.layers import Layers, layers_of
from kdnb.training.teacher import Recorded

LOOKED_AT = {"epochs": 1, "lr": 1.0}  # the recipe of a network that is not trained: never used


def supervised(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    smoothing: float = 0.0,
    start: Result | None = None,
) -> Outcome:
    """A trial of `train`. Arguments: see `examples_of`, `built` and `Recipe`.

    The network starts from the final weights of the trial `start`, else from new ones.
    """
    task = prepared(context, seed, data, network, recipe, start=start)
    fit = train(
        task.network, task.batches, task.recipe, label_smoothing=smoothing, seed=seed,
        **task.options,
    )  # fmt: skip
    return task.outcome(fit.rows)


def shipped(
    context: Context, seed: int, *, data: dict[str, Any], network: dict[str, Any], sha256: str
) -> Outcome:
    """A trial that evaluates a network of `nets.pretrained` without training it.

    Args:
        data: the data set on which the network was trained, and whose images are evaluated.
        network: `{"name": ...}`.
        sha256: digest of the weights file, from its card: other weights are another trial.

    Raises:
        ValueError: if the checkout has other weights.
    """
    weights, card = restore(network["name"], data["name"])
    if card.sha256 != sha256:
        raise ValueError(
            f"the trained {network['name']} on {data['name']} is not the one of this run (SHA-256 "
            f"{card.sha256}, expected {sha256}): check out the commit that the run was made with."
        )
    task = prepared(context, seed, data, network, LOOKED_AT)
    task.network.load_state_dict(weights)
    return task.outcome([])


def untrained(
    context: Context, seed: int, *, data: dict[str, Any], network: dict[str, Any]
) -> Outcome:
    """A trial that evaluates a network with its initial weights: an untrained teacher."""
    return prepared(context, seed, data, network, LOOKED_AT).outcome([])


def distilled(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    teacher: Result,
    loss: dict[str, Any],
    soft_weight: float | tuple[float, float] = 1.0,
    hard_weight: float = 0.0,
    start: Result | None = None,
) -> Outcome:
    """A trial of `distil`; `loss` names a function of `kdnb.losses` and its arguments.

    The student starts from the final weights of the trial `start`, else from the weights that
    `supervised` gives the same network and seed.
    """
    task = prepared(context, seed, data, network, recipe, start=start, name="student")
    fit = distil(
        task.network, network_of(teacher), task.batches, task.recipe, method=loss_of(loss),
        weight=soft_weight, label_weight=hard_weight, seed=seed, **task.options,
    )  # fmt: skip
    return task.outcome(fit.rows)


def transferred(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    teacher: Result,
    method: str,
    weight: float,
    hard_weight: float = 1.0,
    student_maps: list[str] | None = None,
    teacher_maps: list[str] | None = None,
    start: Result | None = None,
    method_options: dict[str, Any] | None = None,
    revision: int = 1,
) -> Outcome:
    """A trial of `distil` by a method of the catalogue. Arguments: see `offline.distilled`.

    The student starts from the same weights as `offline.supervised` gives the same network and
    seed, or from those of the trial `start`.

    Args:
        student_maps, teacher_maps: module paths, shallow to deep; all stages if None.
        method_options: options of the method, by name.
        revision: of the method in the catalogue; runs of an earlier revision are refused.
    """
    check_revision(method, revision)
    task = prepared(context, seed, data, network, recipe, start=start, name="student")
    master = network_of(teacher)
    layers = layers_of(task.network, student_maps or ()), layers_of(master, teacher_maps or ())
    recorded = None
    if not task.batches.augmented:
        half = task.recipe.precision == "bf16"
        recorded = _recorded(teacher.digest, json.dumps(data), layers[1], half)
    fit = distil(
        task.network, master, task.batches, task.recipe, method=method, weight=weight,
        label_weight=hard_weight, layers=layers, recorded=recorded, seed=seed, **task.options,
        **(method_options or {}),
    )  # fmt: skip
    deployed = fit.networks.get("deployed")
    named = known_as(method, list(METHODS)) if isinstance(method, str) else None
    recorded_as = {named: "knowledge"}  # the name in older records
    history = fit.history.rename(columns=recorded_as).to_dict("records")
    return task.outcome(history, deployed.eval() if deployed else None)


@functools.lru_cache(maxsize=2)
def _recorded(digest: str, data: str, layers: Layers, half: bool) -> Recorded:
    """A finished teacher's views of a training set, kept for the next trials of this process."""
    from kdnb.runs import trials

    spec = json.loads(data)
    source = datasets.load(spec["name"])
    images: Images = examples_of(source, spec)
    batches = Batches(images, 500, mean=source.mean, sd=source.sd, device=default_device())
    return Recorded(network_of(trials.read(digest)), layers, batches, half)


def early_stopped(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    teacher: Result,
    loss: dict[str, Any],
    stop_epoch: int,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
) -> Outcome:
    """A trial of `distil_then_labels`; its arguments are those of `offline.distilled`.

    The student starts from the same weights, so that only the stopping differs.
    """
    task = prepared(context, seed, data, network, recipe, name="student")
    history = distil_then_labels(
        task.network, network_of(teacher), task.batches, task.recipe,
        loss=loss_of(loss), stop_epoch=stop_epoch,
        soft_weight=soft_weight, hard_weight=hard_weight, seed=seed, **task.options,
    )  # fmt: skip
    return task.outcome(history)
