"""Regression of the teacher's logits (Ba and Caruana 2014)."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_logits


def logit_regression(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""Half the squared distance of the logits (Ba and Caruana 2014, equation 1).

    .. math:: L = \frac{1}{2B} \sum_b \lVert z_b - v_b \rVert_2^2

    For zero-mean logits this is, up to the factor 1/K, the limit of :func:`soft_targets` at high
    temperature (Hinton 2015, equation 4).

    Args:
        student_logits, teacher_logits: (batch, classes). Gradients flow into the teacher's too
            unless they are detached.

    Returns:
        A scalar in squared units of the logits.

    Raises:
        ValueError: for wrong or mismatched shapes, or an empty batch.

    >>> logit_regression(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    tensor(2.)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    difference = at_least_float32(student_logits) - at_least_float32(teacher_logits)
    return difference.square().sum(dim=1).mean() / 2
