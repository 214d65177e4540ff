"""OFD (Heo et al. 2019b): the margin and partial distance of the feature distillation overhaul."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_maps,
    check_together,
    check_variant,
    check_vectors,
)


def overhaul_margin(weight: Tensor, bias: Tensor, variant: Variant = "paper") -> Tensor:
    r"""OFD's margin of each channel: the mean of its negative responses (Heo 2019b, section 3.1).

    .. math:: m_c = E[t \mid t < 0] = \beta_c - |\gamma_c|\,
        \frac{\varphi(\beta_c / |\gamma_c|)}{\Phi(-\beta_c / |\gamma_c|)},
        \quad t \sim N(\beta_c, \gamma_c^2)

    from the weight gamma and bias beta of the teacher's last batch normalisation.

    Args:
        weight, bias: (channels,).
        variant: "authors" uses -3 |gamma| where less than 0.001 of the responses are negative.
            There the formula tends to -gamma²/beta, about -0.3 |gamma| at their threshold, so on
            such channels the two differ by a factor of ten or more.

    Returns:
        (channels,) at most 0, for :func:`overhaul`.

    Raises:
        ValueError: if weight and bias are not vectors of the same length.

    Departures: a channel with weight 0 is constant; its margin is its bias, or 0 if positive.

    >>> overhaul_margin(torch.ones(2), torch.tensor([0.0, -10.0]))
    tensor([ -0.7979, -10.0000])
    """
    check_variant(variant)
    check_vectors(weight=weight, bias=bias)
    scale, mean = weight.detach().double().abs(), bias.detach().double()
    ratio = mean / torch.where(scale == 0, torch.ones_like(scale), scale)
    hazard = math.sqrt(2 / math.pi) / torch.special.erfcx(ratio / math.sqrt(2))
    margin = (mean - scale * hazard).clamp_max(0)
    if variant == "authors":
        margin = torch.where(torch.special.ndtr(-ratio) <= 0.001, -3 * scale, margin)
    margin = torch.where(scale == 0, mean.clamp_max(0), margin)
    return margin.to(at_least_float32(weight).dtype)


def overhaul(student_responses: Tensor, teacher_responses: Tensor, margin: Tensor) -> Tensor:
    r"""The partial L2 distance of OFD (Heo 2019b, equations 3 to 5).

    .. math:: L = \frac1B \sum_b \sum_i \begin{cases} 0 & s_i \le t_i \le 0 \\
        (t_i - s_i)^2 & \text{otherwise} \end{cases}, \quad t = \max(T, m)

    A negative response of the teacher is a ceiling and not a target: the student is not penalised
    below it.

    Args:
        student_responses: (batch, channels, height, width) before the ReLU, after a connector
            (:class:`~kdnb.losses.adapters.PointwiseAdapter`, `normalise=True`).
        teacher_responses: the same shape, before the ReLU. The authors keep the teacher in training
            mode, so that both use statistics of the same batch; restore its running statistics
            afterwards (`kdnb.distil` normalises by the batch and leaves them alone).
        margin: (channels,) from :func:`overhaul_margin`, at most 0.

    Returns:
        A scalar in squared units of the responses. 0 where student and teacher are equal and
        no response lies below the margin, or where the student stays under every ceiling.

    Raises:
        ValueError: for wrong or mismatched shapes.

    Departures: the authors sum over the batch and divide by it, and by 1000 on CIFAR-100 or 10,000
    on ImageNet, in their training scripts (clovaai/overhaul-distillation), with
    :func:`depth_weights` over layers; here only the batch mean is taken.

    >>> student, teacher = torch.full((1, 1, 1, 2), -2.0), torch.tensor([[[[1.0, -5.0]]]])
    >>> overhaul(student, teacher, torch.tensor([-1.0]))
    tensor(9.)
    """
    check_maps(student_responses=student_responses, teacher_responses=teacher_responses)
    check_vectors(student_responses.shape[1], margin=margin)
    check_together(student_responses=student_responses, margin=margin)
    student, teacher = at_least_float32(student_responses), at_least_float32(teacher_responses)
    target = torch.maximum(teacher, margin.to(teacher.dtype)[:, None, None])
    counted = (student > target) | (target > 0)
    return ((target - student).square() * counted).flatten(1).sum(dim=1).mean()
