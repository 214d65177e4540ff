"""iCaRL (Rebuffi et al. 2017): sigmoids that keep old answers and learn new labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import (
    at_least_float32,
    check_labels,
    check_logits,
    check_together,
)


def icarl_loss(logits: Tensor, labels: Tensor, old_logits: Tensor) -> Tensor:
    r"""iCaRL's loss (Rebuffi 2017): binary cross-entropies with labels and old answers.

    .. math:: L = -\frac1B \sum_b \Big[\sum_{y \le s} q_{by} \log g_{by} + (1 - q_{by}) \log(1 -
        g_{by})
        + \sum_{y > s} \delta_{y = y_b} \log g_{by} + \delta_{y \ne y_b} \log(1 - g_{by})\Big]

    with the sigmoids g of the learning network and q of the previous network, which knows the first
    s classes. A batch mixes new images and stored images of old classes. The column of an old class
    always learns q, even for images of that class.

    Args:
        logits: (batch, classes), of the learning network; the first s columns are the old classes.
        labels: (batch,) integers.
        old_logits: (batch, s), with 1 <= s <= classes. Gradients flow into it too unless it is
            detached.

    Returns:
        A scalar in nats: summed over classes, averaged over the batch. Its least value is the
        entropy of the sigmoids q, where g = q on old classes and g = 1 or 0 on new ones.

    Raises:
        ValueError: for wrong shapes, labels out of range, or more old classes than classes.

    Departures: the authors' code (srebuffi/iCaRL) was read; the paper's equation is recalled. They
    agree, except that the code also takes the mean over classes.

    >>> icarl_loss(torch.zeros(2, 3), torch.tensor([2, 0]), torch.zeros(2, 1))
    tensor(2.0794)
    """
    check_logits(logits=logits)
    check_logits(old_logits=old_logits)
    check_labels(logits, labels)
    check_together(logits=logits, old_logits=old_logits)
    if len(old_logits) != len(logits) or old_logits.shape[1] > logits.shape[1]:
        raise ValueError(
            f"old_logits must be ({len(logits)}, at most {logits.shape[1]}), one row for each of "
            f"logits; got {tuple(old_logits.shape)}."
        )
    known = old_logits.shape[1]
    z, v = at_least_float32(logits), at_least_float32(old_logits)
    dtype = torch.promote_types(z.dtype, v.dtype)
    named = F.one_hot(labels.long(), z.shape[1])[:, known:].to(dtype)
    targets = torch.cat([v.to(dtype).sigmoid(), named], 1)
    return F.binary_cross_entropy_with_logits(z.to(dtype), targets, reduction="none").sum(1).mean()
