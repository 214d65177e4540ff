"""Temporal ensembling (Laine and Aila 2017): the mean of a network's earlier answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import consistency_cost, labelled_cross_entropy
from kdnb.methods.online.common import Ramp
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for


class TemporalEnsemble(nn.Module):
    """A network and its answers to each training image, averaged over the epochs.

    Args:
        network: images -> logits.
        examples, classes: numbers of training images and of classes.
        momentum: momentum of the average, 0.6 in the paper.
    """

    def __init__(self, network: nn.Module, examples: int, classes: int, momentum: float = 0.6):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1); got {momentum}.")
        self.network, self.momentum = network, momentum
        for name in ("average", "latest", "target"):
            self.register_buffer(name, torch.zeros(examples, classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def fold(self, epoch: int) -> None:
        """Before epoch `epoch` >= 1: add the last epoch's answers, with bias correction."""
        self.average.mul_(self.momentum).add_(self.latest, alpha=1 - self.momentum)
        self.target.copy_(self.average / (1 - self.momentum**epoch))


def temporal_ensembling(
    ensemble: TemporalEnsemble,
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 30.0,
    ramp_up: int = 80,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Temporal ensembling (Laine and Aila 2017, algorithm 2).

    .. math:: L = \frac{1}{|B|} \sum_{i \in B \cap L} H(y_i, p_i) + w(t)\,
        \frac{1}{C|B|} \sum_{i \in B} \lVert p_i - \tilde z_i \rVert^2, \quad
        Z \leftarrow m Z + (1 - m) p, \; \tilde z = Z / (1 - m^t)

    Images with label -1 count only in the second term.

    Args:
        ensemble: trained in place; its `network` is the result.
        examples: `Batches`, which know the index of each image.
        weight: weight of w(t), after `ramp_up` epochs. The authors' full weight is 30 times the
            share of labelled images (smlaine2/tempens, `config.py` and `scaled_unsup_weight_max`).
        options: passed to `training.fit`.

    Returns:
        The history: `hard` and `consistency`.

    Raises:
        ValueError: if the examples do not give the index of each image.

    Departures: in the first epoch, which has no target yet, the second term is 0, as is w(0) in the
    paper. Only one process is supported.
    """
    ramp = Ramp(weight, ramp_up)

    def begin(epoch: int) -> None:
        ramp.begin(epoch)
        if epoch == 0:
            ramp.now = 0.0
        else:
            ensemble.fold(epoch)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        if batch.index is None:
            raise ValueError("temporal ensembling needs `Batches`, which number their images.")
        logits = networks["network"](batch.images)
        ensemble.latest[batch.index] = logits.detach().float().softmax(1)
        return {
            "hard": labelled_cross_entropy(logits, batch.labels),
            "consistency": ramp.now * consistency_cost(logits, ensemble.target[batch.index]),
        }

    update = Update(("network",), terms, after=lambda: constrain(ensemble), begin=begin)
    batches = batches_for(examples, recipe, seed)
    return fit({"network": ensemble}, batches, update, recipe, seed=seed, **options)
