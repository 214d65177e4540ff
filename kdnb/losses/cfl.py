"""CFL (Luo et al. 2019): compare features of student and teachers in a common space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses._arithmetic import product, rows, unit
from kdnb.losses.checks import check_lists, check_number, check_samples

BANDWIDTHS = (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)


def common_feature_discrepancy(
    one: Tensor, other: Tensor, bandwidths: Sequence[float] = BANDWIDTHS
) -> Tensor:
    r"""Squared maximum mean discrepancy of two batches of features, summed over kernels (Luo 2019).

    .. math:: L = \frac{1}{B^2} \sum_{i, j} \sum_\sigma
        k_\sigma(a_i, a_j) + k_\sigma(b_i, b_j) - 2 k_\sigma(a_i, b_j), \quad
        k_\sigma(x, y) = e^{-\lVert x - y \rVert^2 / 2 \sigma^2}

    where a and b are the features, flattened and divided by their length. The loss compares the two
    sets; it does not matter which sample gave which feature.

    Args:
        one, other: (batch, ...), with the same batch size and numbers per sample.
        bandwidths: the sigmas. Squared distances of unit vectors are at most 4, so the widest of
            the seven default kernels is nearly constant.

    Returns:
        A scalar without unit, at least 0 up to rounding, at most twice the number of kernels.

    Raises:
        ValueError: for wrong shapes, no bandwidth, or one that is not above 0.

    Departures: kernels and normalisation from released code (KamalEngine, `common_feature.py`); the
    paper's text was not available.

    >>> common_feature_discrepancy(torch.tensor([[2.0, 0.0]]), torch.tensor([[5.0, 0.0]]))
    tensor(0.)
    """
    check_samples(minimum=1, one=one, other=other)
    check_lists(bandwidths=bandwidths)
    for number in bandwidths:
        check_number(above=0, bandwidths=number)
    if one[0].numel() != other[0].numel():
        raise ValueError(
            f"one and other must have as many numbers a sample; got {tuple(one.shape)} and "
            f"{tuple(other.shape)}."
        )
    a, b = (unit(rows(value)) for value in (one, other))
    dtype = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(dtype), b.to(dtype)
    total = 0.0
    for left, right, sign in ((a, a, 1), (b, b, 1), (a, b, -2)):
        lengths = left.square().sum(1)[:, None] + right.square().sum(1)[None]
        squares = (lengths - 2 * product(left, right.T)).clamp_min(0)
        for width in bandwidths:
            # Divided by the width twice, since its square may leave the range of float32.
            total = total + sign * torch.exp(-squares / (2 * width) / width).mean()
    return total
