"""The best checkpoint so far as a teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.borrowed import evaluating, twin_of
from kdnb.training.inputs import batches_for


class BestSoFar(nn.Module):
    """A network and its best checkpoint.

    Args:
        network: the network to train; `best` is a copy of it from when its score was highest.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.best = twin_of(network).requires_grad_(False)
        self.register_buffer("score", torch.tensor(-torch.inf, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def teaches(self, score: float) -> bool:
        """Keep the network if its score is a record; otherwise its best checkpoint teaches it."""
        if score < float(self.score):
            return True
        self.score.fill_(score)
        self.best.load_state_dict(self.network.state_dict())
        return False


def from_checkpoints(
    kept: BestSoFar,
    examples: Any,
    recipe: Recipe,
    *,
    score: Callable[[nn.Module], float],
    soft_weight: float = 1.0,
    temperature: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Online distillation from checkpoints (Wei et al. 2019): the best checkpoint so far teaches.

    .. math:: L = H(y, p) + [s < s_{best}]\; \mathrm{soft\_weight} \cdot
        T^2\, KL(\tilde p_{best} \,\|\, \tilde p)

    While the network is the best it has been, it learns from the labels alone.

    Args:
        kept: trained in place; `kept.best` and `kept.network`.
        score: scores the network in eval mode on held-out images, higher is better; called before
            every epoch and after the last.
        options: passed to `training.fit`.

    Returns:
        The history: `hard` and `soft`, which is 0 in epochs without a teacher.

    Departures: recalled from the paper, which is on translation and scores checkpoints of many
    steps; here a checkpoint is an epoch.
    """
    teaching = False

    def begin(epoch: int) -> None:
        nonlocal teaching
        with evaluating(kept), torch.no_grad():
            teaching = kept.teaches(score(kept.network))

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        soft = logits.new_zeros(())
        if teaching:
            kept.best.eval()
            with torch.no_grad():
                taught = kept.best(batch.images)
            soft = soft_weight * soft_targets(logits, taught, temperature)
        return {"hard": hard_loss(logits, batch.labels), "soft": soft}

    update = Update(("network",), terms, after=lambda: constrain(kept.network), begin=begin)
    batches = batches_for(examples, recipe, seed)
    history = fit({"network": kept}, batches, update, recipe, seed=seed, **options)
    begin(recipe.epochs)
    return history
