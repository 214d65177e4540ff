"""What a synthetic image shares with real ones, whatever it shows: statistics and smoothness.

Both terms are computed in float32 at least, whatever the autocast, and have gradient 0 where they
are 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_maps


def statistics_distance(
    mean: Tensor, variance: Tensor, stored_mean: Tensor, stored_variance: Tensor
) -> Tensor:
    r"""DeepInversion's term of one batch normalisation.

    .. math:: \lVert \mu_l(x) - \hat\mu_l \rVert_2 + \lVert \sigma_l^2(x) - \hat\sigma_l^2 \rVert_2

    (Yin et al. 2020, equation 4). The stored statistics of the teacher's training are all that it
    still tells of its data. At a perfect match the gradient is 0.

    Args:
        mean, variance: (channels,), of the layer's inputs over the batch and all positions; the
            variance divides by their number.
        stored_mean, stored_variance: (channels,), the layer's running statistics.

    Returns:
        A scalar.

    Raises:
        ValueError: when the shapes differ.

    >>> one, zero = torch.ones(1), torch.zeros(1)
    >>> statistics_distance(one, one, zero, zero)
    tensor(2.)
    """
    shapes = {tuple(value.shape) for value in (mean, variance, stored_mean, stored_variance)}
    if len(shapes) > 1 or mean.ndim != 1:
        raise ValueError(f"statistics must all have the shape (channels,); got {shapes}.")
    return _norm(mean - stored_mean) + _norm(variance - stored_variance)


def total_variation(images: Tensor) -> Tensor:
    r"""The prior that neighbouring pixels are alike, in four directions.

    .. math:: R_{TV} = \sum_{\delta} \Big( \sum_{i} (x_{i+\delta} - x_i)^2 \Big)^{1/2}

    over the shifts to the right, down and along both diagonals; each norm is over the whole batch,
    as in the authors' code of DeepInversion. At constant images the gradient is 0.

    Args:
        images: (batch, channels, height, width), at least 2 pixels high and wide.

    Returns:
        A scalar in units of the pixels. It grows as the root of the batch's size.

    Raises:
        ValueError: for another shape.

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


def _norm(value: Tensor) -> Tensor:
    """The L2 norm of all elements, with gradient 0 instead of NaN at 0."""
    square = at_least_float32(value).square().sum()
    safe = torch.where(square > 0, square, torch.ones_like(square))
    return torch.where(square > 0, safe.sqrt(), torch.zeros_like(square))
