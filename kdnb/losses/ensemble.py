"""The mean of several networks' probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import at_least_float32, check_lists, check_logits


def ensemble_log_probabilities(logits: Sequence[Tensor]) -> Tensor:
    r"""The log of the mean probabilities, :math:`\log \frac1K \sum_k \mathrm{softmax}(z_k)`.

    Args:
        logits: K tensors (batch, classes).

    Returns:
        (batch, classes): usable as logits, since its softmax is the mean itself.

    Raises:
        ValueError: for no logits, or for shapes that differ.
    """
    check_lists(logits=logits)
    check_logits(2, **{f"logits[{i}]": value for i, value in enumerate(logits)})
    stacked = torch.stack([F.log_softmax(at_least_float32(value), dim=1) for value in logits])
    return stacked.logsumexp(0) - math.log(len(logits))
