"""Quantization mimic (Wei et al. 2018): round feature maps before comparing them."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import mean_squares
from kdnb.losses.checks import at_least_float32, check_channels, check_maps, check_number


class _Rounded(torch.autograd.Function):
    """Round to the nearest multiple of a step, with a straight-through gradient."""

    @staticmethod
    def forward(ctx, maps: Tensor, step: float) -> Tensor:
        return (maps / step).round() * step

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def quantization_mimic(student_maps: Tensor, teacher_maps: Tensor, step: float = 0.5) -> Tensor:
    r"""The squared distance of rounded feature maps (Wei et al. 2018).

    .. math:: L = \frac{1}{BCHW} \sum \big(Q(f^T) - Q(f^S)\big)^2, \qquad
        Q(f) = \Delta\, \mathrm{round}(f / \Delta)

    Rounding makes the task easier for the student: all maps that round to the same values are
    equivalent.

    Args:
        student_maps: (batch, channels, height, width); if the widths differ, map them first by a
            1x1 convolution.
        teacher_maps: of the same shape. Gradients flow into it too unless it is detached.
        step: Delta > 0, in the units of the maps.

    Returns:
        A scalar in the squared unit of the maps; 0 where both round alike. The gradient is taken as
        if Q were the identity (straight through).

    Raises:
        ValueError: for wrong shapes, or a step that is not above 0.

    Recalled: the loss and the uniform rounding. How the paper chooses the step is not known to us.

    >>> one, other = torch.full((1, 1, 1, 1), 0.6), torch.full((1, 1, 1, 1), 0.4)
    >>> quantization_mimic(one, other), quantization_mimic(one, 2 * other)
    (tensor(0.), tensor(0.2500))
    """
    check_maps(student_maps=student_maps, teacher_maps=teacher_maps)
    check_channels(student_maps=student_maps, teacher_maps=teacher_maps)
    check_number(above=0, step=step)
    student, teacher = (at_least_float32(maps) for maps in (student_maps, teacher_maps))
    return mean_squares(_Rounded.apply(student, float(step)), _Rounded.apply(teacher, float(step)))
