"""IRG (Liu et al. 2019): the instance relationship graph, its edges and its transformation."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import ratio, rows, squared_distances
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_channels,
    check_maps,
    check_samples,
    check_variant,
)


def irg_transformation(
    student_first: Tensor,
    student_last: Tensor,
    teacher_first: Tensor,
    teacher_last: Tensor,
    variant: Variant = "authors",
) -> Tensor:
    r"""IRG's transformation loss (Liu 2019): how far each sample moves between two layers.

    .. math:: L = \frac1B \sum_b (\lambda^T_b - \lambda^S_b)^2, \quad
        \lambda_b = \lVert f^2_b - f^1_b \rVert_2^2 / \max_c \lVert f^2_c - f^1_c \rVert_2^2

    Args:
        student_first, student_last: maps of the student, with the same number of channels.
        teacher_first, teacher_last: maps of the teacher, with the same number of channels, which
            may be a different number from the student's. If heights or widths of a network's two
            maps differ, the larger map is reduced by average pooling.
        variant: "authors" first reduces every map to its mean over the positions, and divides by
            the largest move in the batch; their loss is half of this, with a weight of 0.005.
            "paper" does neither, so the loss is in the fourth power of the features' unit.

    Returns:
        A scalar, without unit and in [0, 1] for "authors".

    Raises:
        ValueError: if an argument is not a map, batch sizes differ, or two layers of one network
            have different channels.

    Departures: dividing squares by the batch's largest, and using only layers of the same width,
    are confirmed in the authors' code. The paper could not be read; a public summary of it does not
    divide by a maximum. Whether it keeps the positions, as "paper" does, is not known.

    >>> still, moved = torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    >>> irg_transformation(still, still + moved, still, still + 1)
    tensor(0.2812)
    >>> irg_transformation(still, still + moved, still, still + 1, variant="paper")
    tensor(72.)
    """
    check_maps(
        "B",
        student_first=student_first,
        student_last=student_last,
        teacher_first=teacher_first,
        teacher_last=teacher_last,
    )
    check_channels(student_first=student_first, student_last=student_last)
    check_channels(teacher_first=teacher_first, teacher_last=teacher_last)
    check_variant(variant)
    authors = variant == "authors"
    if authors:
        student_first, student_last, teacher_first, teacher_last = (
            at_least_float32(maps).mean(dim=(2, 3), keepdim=True)
            for maps in (student_first, student_last, teacher_first, teacher_last)
        )
    moves = _moves(student_first, student_last), _moves(teacher_first, teacher_last)
    return F.mse_loss(*(_relative(one, authors) for one in moves))


def _moves(first: Tensor, last: Tensor) -> Tensor:
    size = tuple(map(min, first.shape[2:], last.shape[2:]))
    first, last = (F.adaptive_avg_pool2d(at_least_float32(maps), size) for maps in (first, last))
    return (last - first).square().sum(dim=(1, 2, 3))


def _relative(squares: Tensor, relative: bool) -> Tensor:
    return ratio(squares, squares.max()) if relative else squares


def irg_edges(student: Tensor, teacher: Tensor, variant: Variant = "authors") -> Tensor:
    r"""The edges of the instance relationship graph at one layer (Liu 2019).

    .. math:: L = \frac{1}{B^2} \lVert A_T - A_S \rVert_F^2, \quad
        A_{ij} = \lVert x_i - x_j \rVert_2^2 / \max_{kl} \lVert x_k - x_l \rVert_2^2

    Args:
        student, teacher: (batch, ...), at least 2 samples; flattened.
        variant: "paper" leaves out the maximum in A, so the student must match the teacher's
            absolute distances.

    Returns:
        A scalar, without unit and in [0, 1] for "authors".

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, an empty tensor.

    Departures: squared distances over their largest are confirmed in the authors' code, where the
    loss is B/2 times this, with a weight of 0.005. That code takes the pooled last layer and treats
    the largest distance as a constant in the gradient. The paper could not be read; "paper" is the
    equation of a public summary, averaged over pairs.

    >>> irg_edges(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [0.0], [2.0]]))
    tensor(0.1389)
    """
    check_samples(student=student, teacher=teacher)
    check_variant(variant)
    squares = squared_distances(rows(student)), squared_distances(rows(teacher))
    return F.mse_loss(*(_relative(one, variant == "authors") for one in squares))
