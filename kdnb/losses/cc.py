"""CC: correlation congruence (Peng et al. 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import cosines, rows
from kdnb.losses.checks import check_number, check_samples


def correlation_congruence(
    student: Tensor, teacher: Tensor, kernel_coefficient: float = 0.4, order: int = 2
) -> Tensor:
    r"""Correlation congruence (Peng 2019), with a Taylor polynomial of the Gaussian kernel.

    .. math:: L = \frac{1}{B^2} \lVert \psi(T) - \psi(S) \rVert_F^2, \quad
        \psi_{ij} = e^{-2c} \sum_{p=0}^{P} \frac{(2c)^p}{p!} (x_i^\top x_j)^p

    for L2-normalised samples x, the expansion of exp(-c |x_i - x_j|²). The loss is invariant to an
    orthogonal map of the features and to a scale for each sample.

    Args:
        student, teacher: (batch, ...); flattened and normalised here.
        kernel_coefficient: c > 0, the paper's gamma, 0.4.
        order: P >= 1, the highest power kept; 2 in the paper.

    Returns:
        A scalar without unit.

    Raises:
        ValueError: for different batch sizes, an empty tensor, or a wrong coefficient or order.

    The paper adds it to the cross-entropy and soft targets. It is at most 0.52, and small between
    networks for the same task, so it needs a large weight. `kdnb.distil(method="cc")` adds the soft
    targets and chooses the weight so that the term starts at the cross-entropy of a uniform guess.

    Departures: the paper's equation is recalled; the kernel, its order and coefficient agree with
    several public readings. Published weights belong to different losses: 0.02 (RepDistiller) to
    products of neighbouring differences in the batch, which depend on the order of the batch and
    are not implemented here; 0.003 (torchdistill) to learnt embeddings of any length.

    >>> correlation_congruence(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.ones(2, 2))
    tensor(0.1266)
    """
    check_number(above=0, kernel_coefficient=kernel_coefficient)
    check_number(least=1, whole=True, order=order)
    check_samples(minimum=1, student=student, teacher=teacher)
    weights = [
        math.exp(-2 * kernel_coefficient) * (2 * kernel_coefficient) ** p / math.factorial(p)
        for p in range(order + 1)
    ]
    kernels = []
    for samples in (student, teacher):
        cosine = cosines(rows(samples))
        kernel = torch.full_like(cosine, weights[-1])
        for weight in reversed(weights[:-1]):
            kernel = kernel * cosine + weight
        kernels.append(kernel)
    return F.mse_loss(*kernels)
