"""Cross-entropy with labels, smoothed labels (Szegedy et al. 2016) or probabilities."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import cross_entropy_of
from kdnb.losses.checks import (
    at_least_float32,
    check_labels,
    check_logits,
    check_number,
    check_samples,
)


def hard_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the true labels, computed in float32 or wider.

    Args:
        logits: (batch, classes), or dense ones, (batch, classes, ...).
        labels: (batch,) or (batch, ...) integers, where -100 is ignored; or probabilities of the
            same shape as the logits, of at least 2 classes.

    Returns:
        A scalar in nats, averaged over the labels that count.

    Raises:
        ValueError: for labels that are booleans, of a wrong shape, or out of range.

    >>> hard_loss(torch.zeros(2, 4), torch.tensor([1, 3]))
    tensor(1.3863)
    """
    check_samples(minimum=1, logits=logits)
    if not (isinstance(labels, Tensor) and labels.shape == logits.shape):
        check_labels(logits, labels, ignored=-100)
        labels = labels.long()
    elif not labels.is_floating_point():
        raise ValueError(
            f"labels must be indices or probabilities; got {labels.dtype} of the shape of logits."
        )
    elif logits.shape[1] < 2:
        raise ValueError(f"logits must have at least 2 classes; got {tuple(logits.shape)}.")
    return F.cross_entropy(at_least_float32(logits), labels)


def cross_entropy_with(logits: Tensor, probabilities: Tensor) -> Tensor:
    """The cross-entropy of probabilities (batch, classes) with the logits' softmax, in nats.

    There are at least 2 classes.

    >>> cross_entropy_with(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    tensor(0.6931)
    """
    check_logits(2, logits=logits, probabilities=probabilities)
    return cross_entropy_of(probabilities, at_least_float32(logits)).mean()


def label_smoothing(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    r"""Cross-entropy against the label mixed with the uniform distribution (Szegedy 2016, sec. 7).

    .. math:: L = \frac{1}{B} \sum_b H\big((1-\epsilon)\, \mathrm{onehot}(y_b)
        + \epsilon / K,\; \mathrm{softmax}(z_b)\big)

    It has the same gradient as distillation from a teacher whose output is this mixture, the
    simplest virtual teacher.

    Args:
        logits: (batch, classes).
        labels: (batch,) integers below the number of classes.
        smoothing: epsilon in [0, 1]; 0 is plain cross-entropy.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for wrong shapes, an empty batch, or a smoothing outside [0, 1].

    >>> label_smoothing(torch.zeros(1, 4), torch.tensor([2]), smoothing=0.1)
    tensor(1.3863)
    """
    check_logits(logits=logits)
    check_labels(logits, labels)
    check_number(least=0, most=1, smoothing=smoothing)
    return F.cross_entropy(at_least_float32(logits), labels.long(), label_smoothing=smoothing)
