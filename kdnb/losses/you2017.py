"""You et al. 2017: relative dissimilarity, the order of distances by a vote of teachers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses._arithmetic import (
    nan_from,
    root,
    rows,
    squared_distances,
    summed_over_anchors,
)
from kdnb.losses.checks import check_lists, check_number, check_samples, check_triplets
from kdnb.losses.triplet import triplets_of


def relative_dissimilarity(
    student: Tensor,
    teachers: Sequence[Tensor],
    triplets: Tensor | None = None,
    margin: float = 0.0,
) -> Tensor:
    r"""Relative dissimilarity (You 2017): the order of two distances, by a vote of teachers.

    .. math:: L = \frac1N \sum_{(q, a, b)} \max\big(0,\; D_S(q, q^+) - D_S(q, q^-) + m\big)

    Each teacher votes for the one of a and b that is nearer to q. The sample with the majority is
    q+, the other q-. A triplet without a majority adds 0.

    Args:
        student: (batch, ...), at least 3 samples; flattened. The paper takes a middle layer.
        teachers: one or more (batch, ...), each of its own width.
        triplets: (triplets, 3) indices: query, one, other, as given by :func:`drawn_triplets`; by
            default all triplets of the batch.
        margin: m >= 0 in units of the student's features.

    Returns:
        A scalar in units of the student's features. With margin 0 it is 0 when the student
        orders all triplets as the majority does.

    Raises:
        ValueError: for no teacher, different batch sizes, an empty tensor, wrong triplets or
            margin.

    Departures: recalled, not read. Euclidean distances, the handling of ties, the mean over
    triplets and the margin are our reading.

    >>> student, teacher = torch.tensor([[0.0], [2.0], [1.0]]), torch.tensor([[0.0], [1.0], [3.0]])
    >>> relative_dissimilarity(student, [teacher], torch.tensor([[0, 1, 2]]), margin=0.5)
    tensor(1.5000)
    """
    check_lists(teachers=teachers)
    named = {f"teachers[{index}]": teacher for index, teacher in enumerate(teachers)}
    check_samples(minimum=3, student=student, **named)
    check_number(least=0, margin=margin)
    if triplets is not None:
        check_triplets(triplets, student)
    distances = root(squared_distances(rows(student)))
    squares = [squared_distances(rows(teacher)) for teacher in teachers]

    def summed(chosen: Tensor) -> Tensor:
        query, one, other = chosen.unbind(dim=1)
        votes = sum(torch.sign(each[query, other] - each[query, one]) for each in squares)
        nearer = torch.sign(votes)
        losses = (nearer * (distances[query, one] - distances[query, other]) + margin).clamp_min(0)
        return (losses * (nearer != 0)).sum()

    batch, device = len(student), student.device
    if triplets is None:
        count = batch * (batch - 1) * (batch - 2) // 2
        loss = summed_over_anchors(batch, lambda some: summed(triplets_of(some, batch, device)))
    else:
        count, loss = len(triplets), summed(triplets.long())
    return nan_from(loss / count, student, *teachers)
