"""PFD (Xu et al. 2020): distil privileged features into a model of clicks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import at_least_float32, check_number, check_scores


def privileged_features(
    student_scores: Tensor, teacher_scores: Tensor, labels: Tensor, teacher_share: float = 0.5
) -> Tensor:
    r"""The student's loss (Xu 2020): clicks, and the teacher's click probabilities.

    .. math:: L = \frac1B \sum_b (1 - \lambda)\, h(y_b, \sigma(z_b)) + \lambda\, h(\sigma(v_b),
        \sigma(z_b))

    with the binary cross-entropy h, the student's score :math:`z = f(x)` and the teacher's
    :math:`v = f(x, x^*)`, which also sees the privileged features :math:`x^*`. Both are trained at
    the same time; the teacher learns only the labels.

    Args:
        student_scores, teacher_scores: (batch,) logits of a click. No gradient flows into the
            teacher's.
        labels: (batch,) floating-point numbers from 0 to 1, such as 0.0 and 1.0.
        teacher_share: lambda in [0, 1]; use 0 in the first steps, while the teacher is untrained.

    Returns:
        A scalar in nats. Its least value is the entropy of the mixed targets.

    Raises:
        ValueError: for scores and labels of different lengths, labels outside [0, 1], or a share
            outside [0, 1].

    Departures: the paper's abstract was read; the formula is recalled.

    >>> privileged_features(torch.zeros(2), torch.zeros(2), torch.tensor([0.0, 1.0]))
    tensor(0.6931)
    """
    check_scores(student_scores=student_scores, teacher_scores=teacher_scores, labels=labels)
    if not len(student_scores) == len(teacher_scores) == len(labels):
        raise ValueError(
            f"scores and labels must have one length; got {len(student_scores)}, "
            f"{len(teacher_scores)} and {len(labels)}."
        )
    check_number(least=0, most=1, teacher_share=teacher_share)
    if labels.device.type == "cpu" and bool(((labels < 0) | (labels > 1)).any()):
        raise ValueError(
            f"labels must lie in [0, 1], 1 for a click; got {float(labels.min()):g} to {float(labels.max()):g}."
        )
    student = at_least_float32(student_scores)
    teacher = at_least_float32(teacher_scores).detach().sigmoid()
    dtype = torch.promote_types(student.dtype, teacher.dtype)
    goal = (1 - teacher_share) * labels.to(dtype) + teacher_share * teacher.to(dtype)
    loss = F.binary_cross_entropy_with_logits(student.to(dtype), goal)
    return nan_from(loss, teacher, labels)
