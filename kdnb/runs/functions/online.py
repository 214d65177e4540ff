"""Mutual learning as trials: described by JSON values, memoised on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.data import Batches
from kdnb.methods.online.dml import mutual
from kdnb.methods.online.measures import ensemble_errors, loss_rise, posterior_entropy
from kdnb.runs.task import as_trained, built, restored, weights_kept
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.inputs import batches_of, evaluated, examples_of, in_order, logits_on


def peer_seed(seed: int, number: int) -> int:
    """The seed of a peer's initial weights; the first starts as the same network trained alone."""
    return seed + 1000 * number


def mutual_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    networks: list[dict[str, Any]],
    recipe: dict[str, Any],
    weight: float = 1.0,
    order: str = "sequential",
    target: str = "peers",
    temperature: float = 1.0,
    noise: Sequence[float] = (),
) -> Outcome:
    """A trial of `mutual`; with weight 0 the control: the same number of networks, trained independently.

    Args:
        data: a `data_spec`.
        networks: descriptions as `built` takes them, one for each peer.
        recipe: fields of a `Recipe`.
        noise: standard deviations of weight noise under which the rise of the training loss is
            measured (`loss_rise`, three draws).

    Returns:
        For peer i from 0: `peer<i>_test_errors`, `_validation_errors`, `_train_errors`,
        `_test_cross_entropy`, `_test_entropy`, `_train_entropy`, `_loss_rise_<sd>`. For all:
        their means `mean_...`, and the ensemble's errors `ensemble_..._errors`. Tensors:
        `peer<i>.<key>` and `logits.peer<i>.<split>` for test and validation.
    """
    source = datasets.load(data["name"])
    plan = Recipe(**recipe)
    peers = {
        f"peer{i}": built(network, source, peer_seed(seed, i)) for i, network in enumerate(networks)
    }
    batches = batches_of(examples_of(source, data), source, plan, seed)
    history = mutual(
        peers, batches, plan, weight=weight, order=order, target=target,
        temperature=temperature, seed=seed, checkpoint=context.checkpoint,
    ).rows  # fmt: skip
    peers = {name: as_trained(peer, plan) for name, peer in peers.items()}
    images = {
        "train": batches.images,
        "validation": evaluated(source.validation, data),
        "test": evaluated(source.test, data),
    }
    labels = {split: part.labels.cpu() for split, part in images.items()}
    logits = {
        name: {split: logits_on(peer, part, source) for split, part in images.items()}
        for name, peer in peers.items()
    }
    plain = in_order(batches.images, source, batches.device)
    single = {
        name: _measured(peer, logits[name], labels, plain, noise, seed)
        for name, peer in peers.items()
    }
    metrics = {f"{name}_{key}": value for name, of in single.items() for key, value in of.items()}
    for key in next(iter(single.values())):
        metrics[f"mean_{key}"] = sum(of[key] for of in single.values()) / len(single)
    for split, truth in labels.items():
        answers = [of[split] for of in logits.values()]
        metrics[f"ensemble_{split}_errors"] = float(ensemble_errors(answers, truth))
    metrics["train_images"] = float(len(batches.images))
    tensors: dict[str, Tensor] = {}
    for name, of in logits.items():
        tensors |= weights_kept(peers[name], name)
        tensors |= {f"logits.{name}.{split}": of[split] for split in ("validation", "test")}
    series = {key: [row[key] for row in history] for key in history[0]}
    return Outcome(metrics, series, tensors)


def _measured(
    peer: nn.Module,
    logits: dict[str, Tensor],
    labels: dict[str, Tensor],
    plain: Batches,
    noise: Sequence[float],
    seed: int,
) -> dict[str, float]:
    found = {
        f"{split}_errors": float((of.argmax(1) != labels[split]).sum())
        for split, of in logits.items()
    }
    found["test_cross_entropy"] = float(F.cross_entropy(logits["test"], labels["test"]))
    for split in ("train", "test"):
        found[f"{split}_entropy"] = float(posterior_entropy(logits[split]))
    if noise:
        rises = loss_rise(peer, plain, noise, draws=3, seed=seed)
        found |= {f"loss_rise_{sd:g}": rise for sd, rise in zip(noise, rises, strict=True)}
    return found


def peer_of(result: Result, number: int) -> nn.Module:
    """One trained peer of a finished `mutual_trial`, in eval mode."""
    arguments = result.description["arguments"]
    source = datasets.load(arguments["data"]["name"])
    return restored(result, arguments["networks"][number], source, f"peer{number}")
