"""RD (Tang and Wang 2018): ranking distillation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import nan_from, ratio
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_number,
    check_rankings,
    check_variant,
)


def ranking_distillation(
    student_scores: Tensor,
    teacher_scores: Tensor,
    kept: int = 10,
    position_scale: float = 1.0,
    discrepancy_scale: float | None = 0.1,
    variant: Variant = "paper",
) -> Tensor:
    r"""Ranking distillation, RD (Tang and Wang 2018): the teacher's top items, weighted.

    .. math:: L = -\frac1B \sum_b \sum_{r=1}^{K} w_{br} \log \sigma(s_{b,\pi(r)}), \quad
        w_{br} \propto e^{-r / \lambda} \cdot
        \tanh\big(\max(\mu\, (\hat r_{b,\pi(r)} - r),\, 0)\big)

    for the first K items of the teacher's order pi, with the student's scores s, the logistic
    function, and the rank that the student gives an item. Items at the top count more, and an item
    that the student already ranks as high as the teacher counts nothing. Add this to the student's
    own ranking loss.

    Args:
        student_scores: (lists, items), for all items, so that ranks can be counted.
        teacher_scores: the same shape. Only the order of its `kept` largest counts, and no gradient
            flows into it; minus infinity leaves items out, such as those of the training set. Ties
            go to the earlier item.
        kept: K, from 1 to the number of items; 10 to 15 in the paper's experiments.
        position_scale: lambda > 0: the larger it is, the more later positions count.
        discrepancy_scale: mu > 0: the larger it is, the sooner a difference of ranks counts in
            full. None weights by position alone, as the authors do in the first epochs.
        variant: "paper" makes the weights of a list sum to 1. "authors" makes only the position
            weights sum to 1, so a student with the teacher's ranks has no loss left.

    Returns:
        A scalar in nats, at least 0; 0 where all weights are.

    Raises:
        ValueError: for wrong or mismatched shapes, fewer than 2 items, wrong options, or fewer than
            `kept` items that are not left out.

    Departures: the authors' code was read. The paper's weights are recalled, including that it
    normalises both factors together. Paper and code estimate the student's rank from a sample of
    items, since their catalogues are large; here all given items are counted. The default scales
    are ours.

    >>> student, teacher = torch.zeros(1, 3), torch.tensor([[3.0, 2.0, 1.0]])
    >>> ranking_distillation(student, teacher, kept=2, discrepancy_scale=None)
    tensor(0.6931)
    """
    check_rankings(student_scores=student_scores, teacher_scores=teacher_scores)
    check_variant(variant)
    check_number(least=1, most=student_scores.shape[1], whole=True, kept=kept)
    check_number(above=0, position_scale=position_scale)
    if discrepancy_scale is not None:
        check_number(above=0, discrepancy_scale=discrepancy_scale)
    there = int((~torch.isneginf(teacher_scores.detach())).sum(1).min())
    if there < kept:
        raise ValueError(
            f"teacher_scores must leave at least {kept} items, as many as kept; got {there}."
        )
    scores = at_least_float32(student_scores)
    order = teacher_scores.argsort(dim=1, descending=True, stable=True)[:, :kept]
    chosen = scores.gather(1, order)
    weights = _weights(scores.detach(), chosen.detach(), position_scale, discrepancy_scale, variant)
    loss = -(weights * F.logsigmoid(chosen)).sum(1).mean()
    return nan_from(loss, student_scores, teacher_scores)


def _weights(
    scores: Tensor, chosen: Tensor, position: float, discrepancy: float | None, variant: Variant
) -> Tensor:
    """(lists, kept): the weights of the teacher's first items, in its order."""
    places = torch.arange(chosen.shape[1], device=scores.device, dtype=scores.dtype)
    by_place = torch.softmax(-places / position, 0).expand_as(chosen)
    if discrepancy is None:
        return by_place
    ranks = (scores.unsqueeze(1) > chosen.unsqueeze(2)).sum(2)  # counted from 0, as positions are
    weights = by_place * torch.tanh(discrepancy * (ranks - places).clamp_min(0))
    return ratio(weights, weights.sum(1, keepdim=True)) if variant == "paper" else weights
