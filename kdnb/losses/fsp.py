"""FSP (Yim et al. 2017): the flow of the solution procedure between two layers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import product
from kdnb.losses.checks import at_least_float32, check_channels, check_maps


def fsp_matrix(first: Tensor, last: Tensor) -> Tensor:
    r"""The flow of the solution procedure between two layers of one network (Yim 2017, eq. 1).

    .. math:: G_{ij} = \sum_{s=1}^{h} \sum_{t=1}^{w}
        \frac{F^1_{st i}\, F^2_{st j}}{h\, w}

    Args:
        first, last: maps of one network. If heights or widths differ, the larger map is reduced by
            max-pooling, as in the paper.

    Returns:
        (batch, channels of first, channels of last), in products of the maps' units.

    Raises:
        ValueError: if the arguments are not two maps of the same batch size.
    """
    check_maps("B", first=first, last=last)
    size = tuple(map(min, first.shape[2:], last.shape[2:]))
    first, last = (_pooled(at_least_float32(maps), size).flatten(2) for maps in (first, last))
    return product(first, last.transpose(1, 2)) / first.shape[2]


def fsp(
    student_first: Tensor, student_last: Tensor, teacher_first: Tensor, teacher_last: Tensor
) -> Tensor:
    r"""Distillation of the flow between two layers (Yim 2017, equation 2).

    .. math:: L = \frac1B \sum_b \lVert G^T_b - G^S_b \rVert_F^2

    with :func:`fsp_matrix` G, for one pair of layers; sum over pairs with weights. Permuting the
    positions of both layers of a network together changes nothing. The paper first trains with this
    loss alone and then on the task: `kdnb.distil(..., method="fsp_stage1")`, then `kdnb.train`.

    Args:
        student_first, student_last: maps of the student.
        teacher_first, teacher_last: maps of the teacher, with the same channels as the student's;
            height and width may differ, as G averages over them.

    Returns:
        A scalar, summed over the channels, averaged over the batch.

    Raises:
        ValueError: if an argument is not a map, or batch sizes or channels differ.

    Departures: the equation is recalled. Public implementations take the mean over G's entries or
    use average pooling; here it is the paper's sum and max-pooling.

    >>> ones, twos = torch.ones(1, 2, 4, 4), torch.full((1, 3, 2, 2), 2.0)
    >>> fsp(ones, twos, ones, twos / 2)
    tensor(6.)
    """
    check_maps(
        "B",
        student_first=student_first,
        student_last=student_last,
        teacher_first=teacher_first,
        teacher_last=teacher_last,
    )
    check_channels(student_first=student_first, teacher_first=teacher_first)
    check_channels(student_last=student_last, teacher_last=teacher_last)
    gap = fsp_matrix(student_first, student_last) - fsp_matrix(teacher_first, teacher_last)
    return gap.square().sum(dim=(1, 2)).mean()


def _pooled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return maps if tuple(maps.shape[2:]) == size else F.adaptive_max_pool2d(maps, size)
