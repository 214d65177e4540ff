"""Oracle distillation (Kang et al. 2020): learn each image from teachers that are right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import at_least_float32, check_labels, check_lists, check_logits


def oracle_weights(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    r"""Oracle weights (Kang 2020): 1 for each teacher that is right, 0 else; all 1 if none is.

    .. math:: u_{kb} = \mathbb{1}\big[\arg\max_c v_{kbc} = y_b\big]

    Used in :func:`ensemble_log_probabilities` they give the oracle's answer, the mean of the
    teachers that are right (Kang, Mun and Han 2020).

    Args:
        logits: K tensors (batch, classes).
        labels: (batch,) integers below the number of classes.

    Returns:
        (K, batch), without a gradient.

    Raises:
        ValueError: for no logits, wrong shapes, or labels beyond the classes.

    Departures: recalled; the paper's text was not available. For images on which no teacher is
    right we take the mean of all.

    >>> v = [torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])]
    >>> oracle_weights(v, torch.tensor([0, 0]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    check_lists(logits=logits)
    check_logits(2, **{f"logits[{i}]": value for i, value in enumerate(logits)})
    check_labels(logits[0], labels)
    stacked = torch.stack([at_least_float32(value.detach()) for value in logits])
    right = (stacked.argmax(2) == labels).to(stacked.dtype)
    nobody = right.sum(0, keepdim=True) == 0
    return nan_from(right.masked_fill(nobody, 1), stacked)
