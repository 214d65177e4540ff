"""BinCF (Wang et al. 2019): binary codes that learn the ranking of a graph network's scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import at_least_float32, check_parameters, check_scores


def binary_codes(values: Tensor) -> Tensor:
    """The signs of the values, -1 or 1 (1 for 0), with a straight-through gradient.

    Args:
        values: floating-point numbers of any shape.

    Departures: the straight-through sign is our choice. We do not know how the paper relaxes the
    sign.

    >>> binary_codes(torch.tensor([-0.2, 0.0, 3.0]))
    tensor([-1.,  1.,  1.])
    """
    check_parameters(values=values)
    return _Sign.apply(values)


def pair_distillation(
    student_better: Tensor,
    student_worse: Tensor,
    teacher_better: Tensor,
    teacher_worse: Tensor,
) -> Tensor:
    r"""Match the teacher's probability of preferring one item of a pair to the other (Wang 2019).

    .. math:: L = \frac1N \sum_n h\big(\sigma(v_n^+ - v_n^-),\ \sigma(z_n^+ - z_n^-)\big)

    with the binary cross-entropy h and the scores z of the student and v of the teacher for two
    items of the same user.

    Args:
        student_better, student_worse, teacher_better, teacher_worse: (pairs,) scores. "Better" is
            the item that the teacher prefers, but any order gives the same loss. No gradient flows
            into the teacher's scores.

    Returns:
        A scalar in nats. Its least value is the entropy of the teacher's preferences.

    Raises:
        ValueError: for scores of different lengths.

    Departures: only the paper's abstract was read. It states that a graph network's rankings teach
    binary codes; this form of the loss, with probabilities of pairs, is ours.

    >>> even = torch.zeros(3)
    >>> pair_distillation(even, even, even, even)
    tensor(0.6931)
    """
    named = {
        "student_better": student_better, "student_worse": student_worse,
        "teacher_better": teacher_better, "teacher_worse": teacher_worse,
    }  # fmt: skip
    check_scores(**named)
    if len({len(one) for one in named.values()}) > 1:
        lengths = ", ".join(f"{name} {len(one)}" for name, one in named.items())
        raise ValueError(f"scores of pairs must have one length; got {lengths}.")
    ours = at_least_float32(student_better) - at_least_float32(student_worse)
    theirs = (at_least_float32(teacher_better) - at_least_float32(teacher_worse)).detach()
    dtype = torch.promote_types(ours.dtype, theirs.dtype)
    goal = theirs.to(dtype).sigmoid()
    return nan_from(F.binary_cross_entropy_with_logits(ours.to(dtype), goal), theirs)


class _Sign(torch.autograd.Function):
    """The sign with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return torch.where(
            values.isnan(), values, torch.where(values >= 0, 1.0, -1.0).to(values.dtype)
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
