"""Label embeddings (Sun et al. 2017): targets learnt together with the network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import cross_entropy_with, hard_loss
from kdnb.losses.checks import at_least_float32
from kdnb.methods.self_distillation.common import History, fit_one
from kdnb.training import Recipe


def embedding_targets(embeddings: Tensor, labels: Tensor, width: float = 1.0) -> Tensor:
    r"""Soft targets from the distances of the classes' embeddings to the label's.

    .. math:: p_{bk} = \mathrm{softmax}_k \Big( -\frac{\lVert e_{y_b} - e_k \rVert^2}{2 s^2} \Big)

    Args:
        embeddings: (classes, features): the weight of the layer right below the softmax.
        labels: (batch,) integers.
        width: s, in the embeddings' units.

    Returns:
        Probabilities (batch, classes), float32 or wider, without gradient, largest at the label.

    Raises:
        ValueError: for wrong shapes, or a width not above 0.

    Departures: the form is recalled, not confirmed: Hahn and Choi (2019) take the distance of the
    label's embedding to that of a word the model predicts, and approximate the sum over a large
    vocabulary, for which a classifier has no need.
    """
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ValueError(f"embeddings must be (classes, features); got {tuple(embeddings.shape)}.")
    if not width > 0:
        raise ValueError(f"width must be above 0; got {width}.")
    if labels.ndim != 1 or labels.is_floating_point():
        raise ValueError(f"labels must be integers (batch,); got {labels.dtype} {labels.shape}.")
    rows = at_least_float32(embeddings.detach())
    apart = (rows[labels][:, None] - rows).square().sum(2)
    return (-apart / (2 * width**2)).softmax(1)


def embedding_distil(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    head: str = "head",
    width: float = 1.0,
    soft_weight: float = 0.5,
    hard_weight: float = 0.5,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train with the self-knowledge of Hahn and Choi (2019): targets from the network's embeddings.

    Args:
        network: trained in place.
        head: its linear classifier; the rows of the weight are the classes' embeddings.
        soft_weight, hard_weight: weights of `embedding_targets` and of the labels.
        options: passed to `training.fit`.

    Raises:
        TypeError: if `head` is not a linear layer of the network.

    Departures: the paper increases the soft share during training (recalled); here it is constant.
    """
    layer = dict(network.named_modules()).get(head)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{head!r} must be a linear layer of the network.")

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        targets = embedding_targets(layer.weight, batch.labels, width)
        return {
            "hard": hard_weight * hard_loss(logits, batch.labels),
            "soft": soft_weight * cross_entropy_with(logits, targets),
        }

    return fit_one(network, examples, recipe, terms, seed=seed, **options)
