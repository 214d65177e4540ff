"""DDGSD (Xu and Liu 2019): two distorted views of an image teach each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, mean_discrepancy, soft_targets
from kdnb.methods.self_distillation.common import History, PairedBatches, fit_one
from kdnb.nets import features
from kdnb.training import Recipe
from kdnb.training.inputs import batches_for


def distorted_views(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    path: str = "pool",
    temperature: float = 3.0,
    soft_weight: float = 1.0,
    discrepancy_weight: float = 5e-4,
    seed: int = 0,
    **options: Any,
) -> History:
    r"""Train with DDGSD (Xu and Liu 2019): two distorted versions of each batch agree.

    .. math:: L = \tfrac12 \textstyle\sum_v H(y, q^v)
        + w_s T^2 \big( \mathrm{KL}(q^b_T \| q^a_T) + \mathrm{KL}(q^a_T \| q^b_T) \big)
        + w_m\, \mathrm{MMD}^2(f^a, f^b)

    Args:
        network: trained in place.
        examples: `Batches` that augment; the second view is another draw of the same augmentation.
        path: the module whose outputs are the global features f.
        discrepancy_weight: weight of `mean_discrepancy`.
        options: passed to `training.fit`.

    Raises:
        ValueError: if the batches do not augment: both views would be the same.

    Departures: the paper was not available. The three terms follow its abstract and public
    re-implementations (each view's targets without gradient; the weights 1, 1 and 5e-4, T = 3);
    they differ in whether the cross-entropies are added or averaged, and some compare features
    image by image.
    """
    batches = batches_for(examples, recipe, seed)
    if not batches.augmented:
        raise ValueError("two views need an augmentation: crop_padding, flip or jitter.")

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        with features(network, [path]) as seen:
            logits = networks["network"](batch.images)
        one, other = logits.chunk(2)
        apart = mean_discrepancy(*seen[path].chunk(2))
        soft = soft_targets(one, other.detach(), temperature)
        soft = soft + soft_targets(other, one.detach(), temperature)
        return {
            "hard": hard_loss(logits, batch.labels),
            "soft": soft_weight * soft,
            "discrepancy": discrepancy_weight * apart,
        }

    paired = PairedBatches(batches, lambda _: torch.arange(batches.examples))
    return fit_one(network, paired, recipe, terms, seed=seed, **options)
