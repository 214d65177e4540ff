"""EnsembleNet (Li, Ng and Natsev 2019): heads on one trunk, trained as an ensemble in one stage."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.losses.checks import at_least_float32, check_number, check_temperature
from kdnb.methods.online.branches import Branches, fit_branches
from kdnb.names import brief
from kdnb.training import Recipe
from kdnb.training.recipe import recipe_for
from kdnb.training.watching import watching


class AveragedBranches(nn.Module):
    """Branches as one classifier: images -> the mean of their logits."""

    def __init__(self, branches: Branches):
        super().__init__()
        self.branches = branches

    def forward(self, images: Any) -> Tensor:
        return self.branches(images).logits.mean(1)


def check_branches(verb: str, branches: Any) -> None:
    """Raise `TypeError` for anything but `Branches`."""
    if not isinstance(branches, Branches):
        raise TypeError(
            f"{verb} takes Branches, a stem with several heads; got {brief(branches)}: "
            "Branches.split(networks, at, example) makes them."
        )


def ensemblenet(
    branches: Branches,
    examples: Any,
    recipe: Recipe,
    *,
    head_weight: float = 1.0,
    distil_weight: float = 1.0,
    temperature: float = 1.0,
    evaluate: Any = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Train several heads as an ensemble that teaches its members (Li et al. 2019).

    .. math:: L = H(y, \bar p) + \alpha \sum_k H(y, p_k)
        + \beta T^2 \sum_k \mathrm{KL}(\bar p \,\|\, p_k), \quad \bar z = \frac1K \sum_k z_k

    It makes no difference whether gradients flow from the divergences into the ensemble: with
    respect to the mean of the logits the gradient is :math:`\bar p \odot \sum_k (\bar z - z_k)`, up
    to a shift, which is 0.

    The ensemble's own cross-entropy does not make the heads agree. With it alone (alpha = beta = 0)
    they may drift apart while their mean stays right; the two other terms prevent this.

    Args:
        branches: trained in place; `AveragedBranches(branches)` is the ensemble afterwards.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        head_weight: alpha; it may be negative, which pushes the heads apart.
        distil_weight: beta >= 0.
        temperature: T of the divergence.
        evaluate: a function of the networks, or data, on which the branches' mean is measured after
            every epoch.
        options: passed to `training.fit`.

    Returns:
        The history: `ensemble`, `heads`, `distil`, and `disagreement`, the mean divergence of a
        head from the ensemble in nats, which is recorded and not minimised.

    Raises:
        TypeError: for anything but branches.
        ValueError: for a wrong temperature or weight.

    Departures: one stage, several heads and a co-distillation loss are in the paper's abstract; the
    formula is recalled.
    """
    check_branches("ensemblenet", branches)
    recipe = recipe_for(recipe, {})
    check_temperature(temperature)
    check_number(head_weight=head_weight)
    check_number(least=0, distil_weight=distil_weight)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        heads = networks["branches"](batch.images).logits.unbind(1)
        mean = torch.stack(heads).mean(0)
        return {
            "ensemble": hard_loss(mean, batch.labels),
            "heads": head_weight * sum(hard_loss(z, batch.labels) for z in heads),
            "distil": distil_weight * sum(soft_targets(z, mean, temperature) for z in heads),
            "disagreement": disagreement(torch.stack(heads, 1).detach()),
        }

    watch = watching(evaluate, {"branches": AveragedBranches(branches)})
    return fit_branches(
        {"branches": branches}, examples, recipe, terms, seed=seed, evaluate=watch, **options
    )


def disagreement(logits: Tensor) -> Tensor:
    r"""The divergence of heads from their ensemble, :math:`\frac1K \sum_k KL(\bar p \| p_k)`.

    Args:
        logits: (batch, heads, classes); the ensemble is the mean of the logits.

    Returns:
        A scalar in nats, 0 where all heads give the same answer.

    >>> float(disagreement(torch.zeros(2, 3, 4)))
    0.0
    """
    logits = at_least_float32(logits)
    mean = logits.mean(1)
    return torch.stack([soft_targets(z, mean, 1.0) for z in logits.unbind(1)]).mean()
