"""ADMD (Garcia et al. 2020): a critic with a "made-up" class besides those of the task."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses.checks import check_labels, check_logits
from kdnb.losses.cross_entropy import hard_loss


def modality_judging_loss(
    privileged_logits: Tensor, hallucinated_logits: Tensor, labels: Tensor
) -> Tensor:
    r"""The critic's loss (Garcia 2020): real features get their class, made-up ones the last class.

    .. math:: L_D = \tfrac12 \big[ H(y, D(f^{priv})) + H(C, D(f^{hall})) \big]

    Args:
        privileged_logits: (batch, C + 1), the critic's, for features of the privileged modality.
        hallucinated_logits: the same shape, for made-up features.
        labels: (batch,) integers below C.

    Returns:
        A scalar in nats, at least 0.

    Raises:
        ValueError: for wrong shapes, an empty batch, or labels outside the C classes.

    Departures: none from the authors' code for actions, except that "made up" is the first class
    there; their code for objects has no factor 1/2.

    >>> z = torch.zeros(2, 3)
    >>> modality_judging_loss(z, z, torch.tensor([0, 1]))
    tensor(1.0986)
    """
    _check(labels, privileged_logits=privileged_logits, hallucinated_logits=hallucinated_logits)
    made_up = torch.full_like(labels, hallucinated_logits.shape[1] - 1)
    return (hard_loss(privileged_logits, labels) + hard_loss(hallucinated_logits, made_up)) / 2


def modality_fooling_loss(hallucinated_logits: Tensor, labels: Tensor) -> Tensor:
    r"""The hallucination network's loss (Garcia 2020): pass for real features of the right class.

    .. math:: L_H = H(y, D(f^{hall}))

    Args:
        hallucinated_logits: (batch, C + 1) of the critic.
        labels: (batch,) integers below C.

    Returns:
        A scalar in nats, at least 0.

    Raises:
        ValueError: as :func:`modality_judging_loss`.

    >>> modality_fooling_loss(torch.zeros(1, 3), torch.tensor([1]))
    tensor(1.0986)
    """
    _check(labels, hallucinated_logits=hallucinated_logits)
    return hard_loss(hallucinated_logits, labels)


def _check(labels: Tensor, **logits: Tensor) -> None:
    check_logits(classes=2, **logits)
    first = next(iter(logits.values()))
    check_labels(first[:, :-1], labels)  # the last class is never a label
