"""SPEQ (Boo et al. 2021): cosine targets from a network's own answers at other precisions."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import unit
from kdnb.losses.checks import at_least_float32, check_logits, check_temperature


def cosine_targets(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 2.0
) -> Tensor:
    r"""SPEQ's loss (Boo et al. 2021): 1 minus the cosine of two softened answers.

    .. math:: L = \frac{T^2}{B} \sum_b \Big(1 - \frac{p_b \cdot q_b}{\lVert p_b\rVert\, \lVert
        q_b\rVert}
        \Big), \quad p = \mathrm{softmax}(v / T),\; q = \mathrm{softmax}(z / T)

    It is bounded by T², while the divergence of soft targets grows without limit, so a teacher's
    answer that is far off pulls less.

    Args:
        student_logits: (batch, classes), z.
        teacher_logits: (batch, classes), v. Gradients flow into it too unless it is detached.
        temperature: T > 0; one number, or a tensor (batch, 1) of one for each sample.

    Returns:
        A scalar between 0 and T²; 0 where both answers are equal.

    Raises:
        ValueError: for wrong shapes, or a temperature that is not above 0.

    The cosine is confirmed by the abstract. The factor T² is recalled. The value is computed as
    half the squared distance of the unit vectors, which rounding cannot push below 0.

    >>> cosine_targets(torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 99.0]]), temperature=1.0)
    tensor(1.)
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    check_temperature(temperature, len(student_logits))
    ours, theirs = (
        unit((at_least_float32(logits) / temperature).softmax(1), dim=1)
        for logits in (student_logits, teacher_logits)
    )
    each = (ours - theirs).square().sum(1, keepdim=True) / 2
    return (each * temperature**2).mean()
