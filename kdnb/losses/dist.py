"""DIST (Huang et al. 2022, NeurIPS): match correlations of the softened outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import direction
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_logits,
    check_number,
    check_temperature,
    check_variant,
)


def pearson_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor = 1.0,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
    variant: Variant = "paper",
) -> Tensor:
    r"""DIST: correlation instead of divergence (Huang et al. 2022, NeurIPS, eqs 6 to 10).

    .. math:: L = \frac{w_{\mathrm{inter}}}{B} \sum_b \big(1 - \rho(q_{b,:}, p_{b,:})\big)
        + \frac{w_{\mathrm{intra}}}{K} \sum_k \big(1 - \rho(q_{:,k}, p_{:,k})\big)

    with Pearson's ρ of the softened outputs: rows compare the classes of one sample, columns
    the samples of one class.

    Args:
        student_logits, teacher_logits: (batch, classes).
        temperature: T > 0 of both softmaxes.
        inter_weight, intra_weight: weights of the row term and the column term.
        variant: "authors" multiplies by T² and adds 1e-8 to the product of norms.

    Returns:
        A scalar in [0, 2 (w_inter + w_intra)]; 0 where all rows and columns are positive affine
        maps of each other. A constant row or column (a batch of one, a saturated class) has no
        correlation. As in the authors' code, it counts as ρ = 0 and gives no gradient; the loss is
        then above 0 even at a match.

    Raises:
        ValueError: for wrong shapes, an empty batch, one class, a bad temperature or weight, an
            unknown variant.

    Departures: the equations are from notes on the paper; the code was read. The T² is in copies of
    the authors' code, but not in the version we have, which has no T. Their 1e-8 outweighs columns
    whose spread is below 1e-4: classes that no sample of the batch is near drop out of their intra
    term, and the loss is not quite 0 at a match. "paper" uses the exact ρ.

    >>> student, teacher = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1], [3, 0]])
    >>> round(pearson_distillation(student, teacher).item(), 4)
    4.0
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    check_temperature(temperature, len(student_logits))
    check_number(inter_weight=inter_weight, intra_weight=intra_weight)
    check_variant(variant)
    q = (at_least_float32(student_logits) / temperature).softmax(1)
    p = (at_least_float32(teacher_logits) / temperature).softmax(1)
    distance = _pearson_distance if variant == "paper" else _damped_distance
    inter, intra = (distance(q, p, dim).mean() for dim in (1, 0))
    scale = 1.0 if variant == "paper" else torch.as_tensor(temperature**2, dtype=q.dtype).mean()
    return scale * (inter_weight * inter + intra_weight * intra)


def _pearson_distance(q: Tensor, p: Tensor, dim: int) -> Tensor:
    """1 - ρ along dim, as half the squared distance of directions; 1 where either is constant."""
    u, v = direction(q, dim), direction(p, dim)
    return ((u - v).square().sum(dim) / 2).masked_fill(~(u.any(dim) & v.any(dim)), 1)


def _damped_distance(q: Tensor, p: Tensor, dim: int) -> Tensor:
    """The authors' 1 - ρ of DIST, with 1e-8 added to the product of norms."""
    q, p = q - q.mean(dim, keepdim=True), p - p.mean(dim, keepdim=True)
    norms = torch.linalg.vector_norm(q, dim=dim) * torch.linalg.vector_norm(p, dim=dim)
    return 1 - (q * p).sum(dim) / (norms + 1e-8)
