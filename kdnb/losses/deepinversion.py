"""DeepInversion: images on which student and teacher disagree (Yin et al. 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import at_least_float32, check_logits, check_temperature


def decision_adversarial(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""CMI's and Fast's adversarial term: disagree in degree, not in the decision.

    .. math:: L_{adv} = -\frac1n \sum_i [\arg\max T(x_i) = \arg\max S(x_i)]\,
        \mathrm{KL}\big(T(x_i) \Vert S(x_i)\big)

    (Fang et al. 2021, after Choi et al. 2020). Where the two already decide differently there is
    nothing to gain from making the image harder still.

    Args:
        student_logits, teacher_logits: (batch, classes).

    Returns:
        A scalar in nats, at most 0.

    Raises:
        ValueError: for other or different shapes, or an empty batch.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    log_q, log_p = (
        F.log_softmax(at_least_float32(logits), dim=1)
        for logits in (student_logits, teacher_logits)
    )
    rows = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
    return -(rows * (log_q.argmax(1) == log_p.argmax(1))).mean()


def competition(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Adaptive DeepInversion's term: the image should be one on which the student still errs.

    .. math:: R_{compete} = 1 - JS(p_T, p_S), \quad
        JS(p, q) = \tfrac12 KL(p \Vert m) + \tfrac12 KL(q \Vert m),\; m = \tfrac12 (p + q)

    (Yin et al. 2020, equations 7 and 8).

    Args:
        student_logits, teacher_logits: (batch, classes).
        temperature: of both softmaxes; 3 in the authors' CIFAR code.

    Returns:
        A scalar, 1 where the two agree and 1 - ln 2 where they say nothing alike.

    Raises:
        ValueError: for other or different shapes, an empty batch, or a temperature not above 0.

    Departures: the authors' code clamps all probabilities to [0.01, 0.99] and swaps the arguments
    of both divergences; here it is the Jensen-Shannon divergence itself, in nats.

    >>> competition(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor(1.)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_temperature(temperature)
    log_q, log_p = (
        F.log_softmax(at_least_float32(logits) / temperature, dim=1)
        for logits in (student_logits, teacher_logits)
    )
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    both = [F.kl_div(log_m, log, reduction="batchmean", log_target=True) for log in (log_p, log_q)]
    return 1 - sum(both) / 2
