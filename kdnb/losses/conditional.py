"""The distance of logits used with a conditional adversary (Xu et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_logits


def logit_distance(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""The L1 distance of the logits, :math:`\frac1B \sum_b \lVert z_b - v_b \rVert_1`.

    Args:
        student_logits, teacher_logits: (batch, classes).

    Returns:
        A scalar in the units of the logits.

    Raises:
        ValueError: for wrong or mismatched shapes, or an empty batch.

    >>> logit_distance(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, -1.0]]))
    tensor(3.)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    difference = at_least_float32(student_logits) - at_least_float32(teacher_logits)
    return difference.abs().sum(1).mean()
