"""DeepInversion (Yin et al. 2020): the terms for a synthetic image besides its class.

They match the statistics of the teacher's batch normalisation, favour smooth images, and look for
images on which the student still errs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import root
from kdnb.losses.checks import (
    at_least_float32,
    check_logits,
    check_maps,
    check_temperature,
    check_vectors,
)


def statistics_distance(
    mean: Tensor, variance: Tensor, stored_mean: Tensor, stored_variance: Tensor
) -> Tensor:
    r"""DeepInversion's statistics term for one batch normalisation layer (Yin 2020).

    .. math:: \lVert \mu_l(x) - \hat\mu_l \rVert_2 + \lVert \sigma_l^2(x) - \hat\sigma_l^2 \rVert_2

    (Yin et al. 2020, equation 4). The stored statistics are all that the teacher still reveals
    about its training data. At a perfect match the gradient is 0.

    Args:
        mean, variance: (channels,), of the layer's inputs over the batch and all positions; the
            variance is the biased one.
        stored_mean, stored_variance: (channels,), the layer's running statistics.

    Returns:
        A scalar.

    Raises:
        ValueError: for shapes other than (channels,), or that differ.

    >>> one, zero = torch.ones(1), torch.zeros(1)
    >>> statistics_distance(one, one, zero, zero)
    tensor(2.)
    """
    check_vectors(
        mean=mean, variance=variance, stored_mean=stored_mean, stored_variance=stored_variance
    )
    return _norm(mean - stored_mean) + _norm(variance - stored_variance)


def total_variation(images: Tensor) -> Tensor:
    r"""Total variation: a prior that neighbouring pixels are alike, in four directions.

    .. math:: R_{TV} = \sum_{\delta} \Big( \sum_{i} (x_{i+\delta} - x_i)^2 \Big)^{1/2}

    over shifts to the right, down and along both diagonals. Each norm is over the whole batch, as
    in the authors' code for DeepInversion. At constant images the gradient is 0.

    Args:
        images: (batch, channels, height, width), at least 2 pixels high and wide.

    Returns:
        A scalar in units of the pixels. It grows with the square root of the batch size.

    Raises:
        ValueError: for a wrong shape.

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
    tensor(3.4142)
    """
    check_maps(images=images)
    if min(images.shape[2:]) < 2:
        raise ValueError(f"images must be 2x2 pixels or larger; got {tuple(images.shape)}.")
    x = at_least_float32(images)
    differences = (
        x[..., 1:] - x[..., :-1],
        x[..., 1:, :] - x[..., :-1, :],
        x[..., 1:, 1:] - x[..., :-1, :-1],
        x[..., 1:, :-1] - x[..., :-1, 1:],
    )
    return torch.stack([_norm(difference) for difference in differences]).sum()


def competition(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Adaptive DeepInversion's term (Yin 2020): prefer images on which the student still errs.

    .. math:: R_{compete} = 1 - JS(p_T, p_S), \quad
        JS(p, q) = \tfrac12 KL(p \Vert m) + \tfrac12 KL(q \Vert m),\; m = \tfrac12 (p + q)

    (Yin et al. 2020, equations 7 and 8).

    Args:
        student_logits, teacher_logits: (batch, classes).
        temperature: temperature of both softmaxes; 3 in the authors' CIFAR code.

    Returns:
        A scalar, 1 where the two agree and 1 - ln 2 where their answers do not overlap.

    Raises:
        ValueError: for wrong or mismatched shapes, an empty batch, or a temperature not above 0.

    Departures: the authors' code clamps all probabilities to [0.01, 0.99] and swaps the arguments
    of both divergences; here it is the Jensen-Shannon divergence itself, in nats.

    >>> competition(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor(1.)
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    check_temperature(temperature)
    log_q, log_p = (
        F.log_softmax(at_least_float32(logits) / temperature, dim=1)
        for logits in (student_logits, teacher_logits)
    )
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    both = [F.kl_div(log_m, log, reduction="batchmean", log_target=True) for log in (log_p, log_q)]
    return 1 - sum(both) / 2


def _norm(value: Tensor) -> Tensor:
    """The L2 norm of all elements, with gradient 0 instead of NaN at 0."""
    return root(at_least_float32(value).square().sum())
