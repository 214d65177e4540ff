"""DDGSD (Xu and Liu 2019): agreement between two distorted views of an image."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_samples


def mean_discrepancy(one: Tensor, other: Tensor) -> Tensor:
    r"""Maximum mean discrepancy with a linear kernel: the squared distance of the batch means.

    .. math:: \Big\lVert \frac1B \sum_b f(x^a_b) - \frac1B \sum_b f(x^b_b) \Big\rVert_2^2

    Args:
        one, other: features (batch, ...) of the two views.

    Returns:
        A scalar in squared units of the features.

    Raises:
        ValueError: for mismatched shapes, or an empty batch.

    >>> mean_discrepancy(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [0.0]]))
    tensor(4.)
    """
    check_samples(minimum=1, one=one, other=other)
    if one.shape != other.shape:
        raise ValueError(
            f"one and other must have one shape (batch, ...); got {tuple(one.shape)} and "
            f"{tuple(other.shape)}."
        )
    means = [at_least_float32(value).flatten(1).mean(0) for value in (one, other)]
    return (means[0] - means[1]).square().sum()
