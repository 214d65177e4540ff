"""A tolerant teacher (Yang et al. 2019) keeps a bounded gap between its top scores."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, top_score_difference
from kdnb.methods.self_distillation.common import History, fit_one
from kdnb.training import Recipe


def tolerant_teacher(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    kept: int = 5,
    tolerance_weight: float = 0.4,
    hard_weight: float = 0.6,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train a tolerant teacher, by cross-entropy and top score difference (Yang 2019).

    The loss is hard_weight · cross-entropy + tolerance_weight · top score difference. Its students
    are `born_again` networks; only generation 0 is trained differently.

    Args:
        network: trained in place.
        options: passed to `training.fit`.

    Departures: the paper's weights η and 1 - η are recalled.
    """

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        return {
            "hard": hard_weight * hard_loss(logits, batch.labels),
            "tolerance": tolerance_weight * top_score_difference(logits, kept),
        }

    return fit_one(network, examples, recipe, terms, seed=seed, **options)
