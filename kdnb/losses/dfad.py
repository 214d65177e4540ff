"""DFAD (Fang et al. 2019): the discrepancy between student and teacher."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_logits


def discrepancy(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""DFAD's distance of two models (Fang 2019): the mean absolute difference of their logits.

    .. math:: D(T, S) = \frac{1}{nK} \sum_i \lVert T(x_i) - S(x_i) \rVert_1

    (Fang et al. 2019). Unlike a divergence of softmaxes, it keeps its gradient when the student
    comes close, so the generator still has something to maximise.

    Args:
        student_logits, teacher_logits: (batch, classes).

    Returns:
        A scalar in units of the logits.

    Raises:
        ValueError: for wrong or mismatched shapes, or an empty batch.

    Departures: the mean over classes follows the authors' code; the paper's norm is recalled.

    >>> discrepancy(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
    tensor(2.)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    return (at_least_float32(student_logits) - at_least_float32(teacher_logits)).abs().mean()
