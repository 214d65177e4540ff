"""Consistency with one's own past answers (Laine and Aila 2017; Tarvainen and Valpola 2017)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import at_least_float32, check_labels, check_logits


def consistency_cost(logits: Tensor, probabilities: Tensor) -> Tensor:
    r"""The mean squared difference of probabilities over classes and batch (Laine and Aila 2017).

    .. math:: \frac{1}{C\,|B|} \sum_{i \in B} \lVert \mathrm{softmax}(z_i) - \tilde z_i \rVert^2

    This is algorithm 2 of Laine and Aila; mean teacher uses the same.

    Args:
        logits: (batch, classes), at least 2 classes.
        probabilities: (batch, classes), the target; no gradient flows into it.

    Returns:
        A scalar without unit.

    Raises:
        ValueError: for wrong or mismatched shapes, or an empty batch.

    >>> consistency_cost(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    tensor(0.2500)
    """
    check_logits(2, logits=logits, probabilities=probabilities)
    difference = at_least_float32(logits).softmax(1) - at_least_float32(probabilities).detach()
    return difference.square().mean()


def labelled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over images whose label is not -1, divided by the whole batch size.

    Args:
        logits: (batch, classes).
        labels: (batch,) integers, -1 for an image without a label.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for wrong shapes, an empty batch, or labels out of range.

    >>> labelled_cross_entropy(torch.zeros(2, 4), torch.tensor([1, -1]))
    tensor(0.6931)
    """
    check_logits(logits=logits)
    check_labels(logits, labels, ignored=-1)
    logits, labels = at_least_float32(logits), labels.long()
    total = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return total / len(labels)
