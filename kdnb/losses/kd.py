"""KD (Hinton, Vinyals and Dean 2015): the teacher's softened outputs as targets."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import divergence, two_classes
from kdnb.losses.checks import at_least_float32, check_logits, check_temperature


def soft_targets(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor
) -> Tensor:
    r"""Hinton's distillation loss: the divergence between the softened outputs.

    .. math:: L = \frac{T^2}{B} \sum_{b} \sum_k p_{bk} \log \frac{p_{bk}}{q_{bk}},
        \quad p = \mathrm{softmax}(v / T),\; q = \mathrm{softmax}(z / T)

    with the teacher's logits v and the student's z (Hinton, Vinyals, Dean 2015, section 2;
    equations 2 and 3 of the survey). The factor T² keeps the size of the gradient when T changes:
    without it dL/dz = (q - p) / (B T), and q - p itself shrinks as 1/T.

    Args:
        student_logits: (batch, classes). A single column z is that of a binary task: it stands
            for the logits [z, 0].
        teacher_logits: (batch, classes). Gradients flow into it too unless it is detached.
        temperature: T > 0, in the units of the logits; one number, or a tensor (batch, 1), one per
            sample, in which case T² moves inside the mean.

    Returns:
        A scalar in nats, at least 0; 0 exactly when the two softmaxes are equal.

    Raises:
        ValueError: for wrong shapes, an empty batch, or a temperature that is not above 0.

    Departures: the paper writes the cross-entropy H(p, q). The divergence differs from it by the
    teacher's entropy, which does not depend on the student: the gradients are the same, and the
    value is 0 at a perfect match. It is computed as a sum of non-negative terms, so rounding cannot
    push it below 0 at any temperature.

    >>> soft_targets(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]), temperature=1.0)
    tensor(0.4338)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_temperature(temperature, len(student_logits))
    student, teacher = (
        two_classes(at_least_float32(logits)) for logits in (student_logits, teacher_logits)
    )
    each = divergence(teacher, student, temperature).unsqueeze(1)
    return (each * temperature**2).mean()
