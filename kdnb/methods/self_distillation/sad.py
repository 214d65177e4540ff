"""SAD (Hou et al. 2019): attention maps of deeper layers teach shallower ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, self_attention
from kdnb.methods.self_distillation.common import History, fit_one
from kdnb.nets import features
from kdnb.training import Recipe


def self_attention_distil(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    paths: Sequence[str],
    attention_weight: float = 0.1,
    start: float = 2 / 3,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train with SAD (Hou 2019): cross-entropy, and attention distillation once it has learnt.

    Args:
        network: trained in place.
        paths: modules whose outputs are maps, shallow to deep.
        attention_weight: weight of `self_attention`; 0.1 in the authors' code, of a mean over the
            positions where this is a sum (cardwing/Codes-for-Lane-Detection,
            `ENet-Label-Torch/models/init.lua`).
        start: the share of epochs before it is added. The paper adds it after 40,000 of 60,000
            iterations, when the deeper layers' attention is worth imitating (recalled).
        options: passed to `training.fit`.

    Departures: a classifier replaces the paper's lane detector and its losses.
    """
    weight = 0.0

    def begin(epoch: int) -> None:
        nonlocal weight
        weight = attention_weight if epoch >= start * recipe.epochs else 0.0

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        with features(network, paths) as seen:
            logits = networks["network"](batch.images)
        return {
            "hard": hard_loss(logits, batch.labels),
            "attention": weight * self_attention([seen[path] for path in paths]),
        }

    return fit_one(network, examples, recipe, terms, seed=seed, begin=begin, **options)
