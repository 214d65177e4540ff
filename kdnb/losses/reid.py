"""Distilled re-identification (Wu et al. 2019): compare the log of a batch's similarities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdnb.losses._arithmetic import gram, in_double, rows, unit
from kdnb.losses.checks import check_number, check_samples, check_values

CLOSE = 1e-4  # below this relative difference of eigenvalues a series is used


def similarities(samples: Tensor) -> Tensor:
    r"""The cosines of all pairs of samples after a ReLU, between 0 and 1 (Wu 2019).

    .. math:: A = X X^\top, \quad X_b = \frac{\max(f_b, 0)}{\lVert \max(f_b, 0) \rVert_2}

    Args:
        samples: (batch, ...), flattened.

    Returns:
        (batch, batch), symmetric and positive semi-definite. A sample without positive values has a
        row of zeros.

    Raises:
        ValueError: for fewer than 2 samples.

    >>> similarities(torch.tensor([[1.0, 0.0], [3.0, 3.0], [-1.0, 2.0]]))
    tensor([[1.0000, 0.7071, 0.0000],
            [0.7071, 1.0000, 0.7071],
            [0.0000, 0.7071, 1.0000]])
    """
    check_samples(samples=samples)
    check_values(samples=samples)
    return gram(unit(rows(samples).clamp_min(0)))


def log_euclidean(student: Tensor, teacher: Tensor, ridge: float = 1.0) -> Tensor:
    r"""The log-Euclidean distance of two networks' similarities (Wu et al. 2019).

    .. math:: L = \big\lVert \log(A_S + \epsilon I) - \log(A_T + \epsilon I) \big\rVert_F^2

    with :func:`similarities` A and the matrix logarithm. Similarity matrices are positive
    semi-definite. The straight line between two such matrices is not a natural path, and its length
    is dominated by the largest eigenvalues.

    Args:
        student, teacher: (batch, ...), at least 2 samples; widths may differ.
        ridge: epsilon above 0. It is needed because a batch with more samples than features has
            zero eigenvalues.

    Returns:
        A scalar without unit, which grows with the batch; 0 where the similarities are equal.

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, or a ridge not above 0.

    Departures: recalled, except for the names of the parts; the ridge of 1 follows a summary.

    >>> log_euclidean(torch.eye(2), torch.ones(2, 2))
    tensor(0.6449)
    """
    check_samples(student=student, teacher=teacher)
    check_number(above=0, ridge=ridge)
    ours, theirs = (_Logarithm.apply(similarities(one), float(ridge)) for one in (student, teacher))
    return (ours - theirs).square().sum().to(torch.promote_types(ours.dtype, theirs.dtype))


class _Logarithm(torch.autograd.Function):
    """log(A + ridge I) of a positive semi-definite A, with a gradient at equal eigenvalues.

    The derivative in the eigenvectors' axes is the divided difference of log at two eigenvalues,
    (Daleckii and Krein). Autograd's own derivative divides by their difference, which may be 0.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, ridge: float) -> Tensor:
        spoilt = ~matrix.isfinite().all()
        values, vectors = torch.linalg.eigh(in_double(matrix.masked_fill(spoilt, 0)))
        values = values.clamp_min(0) + ridge
        ctx.save_for_backward(values, vectors)
        found = (vectors * values.log()) @ vectors.mT
        return found.to(matrix.dtype) * torch.ones_like(matrix).masked_fill(spoilt, torch.nan)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        one, other = values[:, None], values[None, :]
        apart = (one - other) / other
        close = apart.abs() < CLOSE
        away = torch.where(close, torch.ones_like(apart), apart)
        slopes = torch.where(close, 1 - apart / 2 + apart.square() / 3, away.log1p() / away) / other
        symmetric = (gradient + gradient.mT).to(vectors.dtype) / 2
        inside = slopes * (vectors.mT @ symmetric @ vectors)
        return (vectors @ inside @ vectors.mT).to(gradient.dtype), None
