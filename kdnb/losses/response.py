"""Response-based knowledge (section 2.1): the student imitates the teacher's last layer.

Every loss takes logits, is computed in float32 at least (float64 stays float64) whatever the
autocast mode, is summed over the classes and averaged over the batch.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._checks import at_least_float32, check_labels, check_logits, check_temperature


def soft_targets(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor
) -> Tensor:
    r"""Hinton's distillation loss: the divergence of the student's softened outputs.

    .. math:: L = \frac{T^2}{B} \sum_{b} \sum_k p_{bk} \log \frac{p_{bk}}{q_{bk}},
        \quad p = \mathrm{softmax}(v / T),\; q = \mathrm{softmax}(z / T)

    with the teacher's logits v and the student's z (Hinton, Vinyals, Dean 2015, section 2;
    equations 2 and 3 of the survey). The factor T² keeps the gradient's size when T changes:
    without it dL/dz = (q - p) / (B T), and q - p itself shrinks as 1/T.

    Args:
        student_logits: (batch, classes).
        teacher_logits: (batch, classes). Gradients flow into it too unless it is detached.
        temperature: T > 0, in the units of the logits; one number, or a tensor (batch, 1) of
            one for each sample, whose T² then stands inside the mean.

    Returns:
        A scalar in nats, at least 0; 0 exactly when the two softmaxes are equal.

    Raises:
        ValueError: for other shapes, an empty batch, or a temperature that is not above 0.

    Departures: the paper writes the cross-entropy H(p, q). The divergence differs from it by the
    teacher's entropy, which does not depend on the student: the gradients are the same, and
    the value is 0 at a perfect match.

    >>> soft_targets(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]), temperature=1.0)
    tensor(0.4338)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_temperature(temperature, len(student_logits))
    log_q = F.log_softmax(at_least_float32(student_logits) / temperature, dim=1)
    log_p = F.log_softmax(at_least_float32(teacher_logits) / temperature, dim=1)
    rows = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1, keepdim=True)
    return (rows * temperature**2).mean()


def logit_regression(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""Half the squared distance of the logits (Ba and Caruana 2014, equation 1).

    .. math:: L = \frac{1}{2B} \sum_b \lVert z_b - v_b \rVert_2^2

    For zero-mean logits it is, up to the factor 1/K, the limit of :func:`soft_targets` at high
    temperature (Hinton 2015, equation 4).

    Args:
        student_logits, teacher_logits: (batch, classes).

    Returns:
        A scalar in squared units of the logits.

    Raises:
        ValueError: for other or different shapes, or an empty batch.

    >>> logit_regression(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    tensor(2.)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    difference = at_least_float32(student_logits) - at_least_float32(teacher_logits)
    return difference.square().sum(dim=1).mean() / 2


def label_smoothing(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    r"""Cross-entropy against the label mixed with the uniform distribution (Szegedy 2016, sec. 7).

    .. math:: L = \frac{1}{B} \sum_b H\big((1-\epsilon)\, \mathrm{onehot}(y_b)
        + \epsilon / K,\; \mathrm{softmax}(z_b)\big)

    The same gradient as a teacher whose output is that mixture: the simplest virtual teacher.

    Args:
        logits: (batch, classes).
        labels: (batch,) integers below the number of classes.
        smoothing: epsilon in [0, 1]; 0 is plain cross-entropy.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for other shapes, an empty batch, or a smoothing outside [0, 1].

    >>> label_smoothing(torch.zeros(1, 4), torch.tensor([2]), smoothing=0.1)
    tensor(1.3863)
    """
    check_logits(logits=logits)
    check_labels(logits, labels)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must lie in [0, 1]; got {smoothing}.")
    return F.cross_entropy(at_least_float32(logits), labels.long(), label_smoothing=smoothing)
