"""Weights for the mean of several teachers' answers, by their confidence in each sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import (
    at_least_float32,
    check_labels,
    check_lists,
    check_logits,
    check_number,
)


def confidence_weights(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    r"""CA-MKD weights (Zhang, Chen and Wang 2022): teachers close to the label count more.

    .. math:: w_{kb} = \frac{1}{K-1} \Big(1 - \frac{\exp h_{kb}}{\sum_j \exp h_{jb}}\Big), \quad
        h_{kb} = H(y_b, \mathrm{softmax}(v_{kb}))

    Args:
        logits: K tensors (batch, classes).
        labels: (batch,) integers below the number of classes.

    Returns:
        (K, batch), which sum to 1 over the teachers, without a gradient. A single teacher gets 1.
        Of several, none gets more than 1 / (K - 1), so a good teacher never silences the others.

    Raises:
        ValueError: for no logits, wrong shapes, or labels beyond the classes.

    Departures: the authors' code was read (`distiller_zoo/CAMKD.py`); the paper's text was not
    available.

    >>> v = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])]
    >>> confidence_weights(v, torch.tensor([0]))
    tensor([[0.6379],
            [0.3621]])
    """
    stacked = _checked(logits)
    check_labels(logits[0], labels)
    count = len(stacked)
    if count == 1:
        return torch.ones_like(stacked[..., 0]) + 0 * stacked.sum(2)
    column = labels.long().view(1, -1, 1).expand(count, -1, 1)
    entropy = -F.log_softmax(stacked, dim=2).gather(2, column).squeeze(2)
    return (1 - entropy.softmax(0)) / (count - 1)


def certainty_weights(logits: Sequence[Tensor], sharpness: float = 1.0) -> Tensor:
    r"""Weights that favour teachers whose answers have low entropy; labels are not used.

    .. math:: w_{kb} = \frac{\exp(-s\, h_{kb})}{\sum_j \exp(-s\, h_{jb})}, \quad
        h_{kb} = -\sum_c p_{kbc} \log p_{kbc}

    This weighting is ours. s = 0 is the plain mean, and a large s follows the least uncertain
    teacher for each sample. A teacher that is confident but wrong counts as much as one that is
    right.

    Args:
        logits: K tensors (batch, classes).
        sharpness: s >= 0, in 1 / nats.

    Returns:
        (K, batch), which sum to 1 over the teachers, without a gradient.

    Raises:
        ValueError: for no logits, mismatched shapes, or a negative sharpness.

    >>> v = [torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 0.0]])]
    >>> certainty_weights(v)
    tensor([[0.6664],
            [0.3336]])
    """
    stacked = _checked(logits)
    check_number(least=0, sharpness=sharpness)
    log_p = F.log_softmax(stacked, dim=2)
    entropy = -(log_p.exp() * log_p).sum(2)
    return (-sharpness * entropy).softmax(0)


def _checked(logits: Sequence[Tensor]) -> Tensor:
    check_lists(logits=logits)
    check_logits(2, **{f"logits[{i}]": value for i, value in enumerate(logits)})
    return torch.stack([at_least_float32(value.detach()) for value in logits])
