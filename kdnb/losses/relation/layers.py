"""Relations between layers, and between the channels of a layer (section 2.3).

Maps are (batch, channels, height, width), of any height and width. Losses work in float32 at
least whatever the autocast mode. Where the two networks' channels must agree and do not, the
student's maps go through a 1x1 convolution first.
Gradients flow into the teacher too unless it is detached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._checks import at_least_float32
from kdnb.losses.relation._geometry import (
    check_layers,
    check_maps,
    check_same_channels,
    check_variant,
    product,
    ratio,
    unit,
)

Variant = Literal["paper", "authors"]


def fsp_matrix(first: Tensor, last: Tensor) -> Tensor:
    r"""The flow of the solution procedure between two layers of one network (Yim 2017, eq. 1).

    .. math:: G_{ij} = \sum_{s=1}^{h} \sum_{t=1}^{w}
        \frac{F^1_{st i}\, F^2_{st j}}{h\, w}

    Args:
        first, last: maps of one network. Where heights or widths differ, the larger is reduced
            by max-pooling, as in the paper.

    Returns:
        (batch, channels of first, channels of last), in products of the maps' units.

    Raises:
        ValueError: for anything but two maps of one batch size.
    """
    check_maps(first=first, last=last)
    size = tuple(map(min, first.shape[2:], last.shape[2:]))
    first, last = (_pooled(at_least_float32(maps), size).flatten(2) for maps in (first, last))
    return product(first, last.transpose(1, 2)) / first.shape[2]


def fsp(
    student_first: Tensor, student_last: Tensor, teacher_first: Tensor, teacher_last: Tensor
) -> Tensor:
    r"""Distillation of the flow between two layers (Yim 2017, equation 2).

    .. math:: L = \frac1B \sum_b \lVert G^T_b - G^S_b \rVert_F^2

    with :func:`fsp_matrix` G. One pair of layers; weigh and add over pairs. Permuting the
    positions of both layers of a network together changes nothing.

    Args:
        student_first, student_last: maps of the student.
        teacher_first, teacher_last: maps of the teacher, with the channels of the student's;
            height and width may differ, as G averages over them.

    Returns:
        A scalar, summed over the channels, averaged over the batch.

    Raises:
        ValueError: for anything but maps, or different batch sizes or channels, named.

    Departures: the equation is recalled. Public readings take the mean over G's entries or pool
    by averaging; here it is the paper's sum and max-pooling.

    >>> ones, twos = torch.ones(1, 2, 4, 4), torch.full((1, 3, 2, 2), 2.0)
    >>> fsp(ones, twos, ones, twos / 2)
    tensor(6.)
    """
    check_maps(
        student_first=student_first,
        student_last=student_last,
        teacher_first=teacher_first,
        teacher_last=teacher_last,
    )
    check_same_channels(("student_first", student_first), ("teacher_first", teacher_first))
    check_same_channels(("student_last", student_last), ("teacher_last", teacher_last))
    gap = fsp_matrix(student_first, student_last) - fsp_matrix(teacher_first, teacher_last)
    return gap.square().sum(dim=(1, 2)).mean()


def inter_channel_correlation(
    student: Tensor, teacher: Tensor, variant: Variant = "paper"
) -> Tensor:
    r"""Inter-channel correlation (Liu 2021, ICKD-C).

    .. math:: L = \frac{1}{B C^2} \sum_b \lVert F^S_b {F^S_b}^\top - F^T_b {F^T_b}^\top \rVert_F^2

    with each map flattened to F of shape (C, H W): how alike any two channels are.

    Args:
        student, teacher: maps with equally many channels (the paper adapts the student's with a
            1x1 convolution). Height and width may differ; the paper's sum then grows with them.
        variant: "authors" makes the rows of each C x C matrix unit vectors and divides by C B.

    Returns:
        A scalar, averaged over the batch.

    Raises:
        ValueError: for anything but maps, or different batch sizes or channels, named.

    Departures: the paper's equation is recalled; the authors' variant was read in public copies
    of their code. A channel that is all 0 gives no gradient there.

    >>> student, teacher = torch.ones(1, 2, 1, 1), torch.tensor([[[[1.0]], [[0.0]]]])
    >>> inter_channel_correlation(student, teacher)
    tensor(0.7500)
    """
    check_variant(variant)
    check_maps(student=student, teacher=teacher)
    check_same_channels(("student", student), ("teacher", teacher))
    grams = []
    for maps in (student, teacher):
        flat = at_least_float32(maps).flatten(2)
        gram = product(flat, flat.transpose(1, 2))
        grams.append(unit(gram, dim=2) if variant == "authors" else gram)
    mean = F.mse_loss(*grams)
    return mean * student.shape[1] if variant == "authors" else mean


def kd_svd(
    student_layers: Sequence[Tensor],
    teacher_layers: Sequence[Tensor],
    vectors: int = 1,
    spare: int = 3,
) -> Tensor:
    r"""Relations of singular vectors of neighbouring layers (Lee, Kim and Song 2018, KD-SVD).

    .. math:: L = \frac1B \sum_b \sum_{l > 1} \sum_{ijk}
        \big(e^{-(v^S_{l,ik} - v^S_{l-1,jk})^2 / 8} - e^{-(v^T_{l,ik} - v^T_{l-1,jk})^2 / 8}\big)^2

    Each sample's map, as a matrix (H W, C), is reduced to its first right singular vectors v_k;
    those of the student are matched to the teacher's by the largest absolute cosine, take its
    sign, and both are weighed by the teacher's singular values, scaled to length 1.

    Args:
        student_layers, teacher_layers: equally many maps, at least 2, first layer first; each
            pair with equally many channels. Height and width may differ.
        vectors: how many singular vectors of the teacher are matched; 1 in the authors' code.
        spare: how many more of the student's are searched for a match; 3 there.

    Returns:
        A scalar, summed over channels and pairs of layers, averaged over the batch.

    Raises:
        ValueError: for lists of different length or below 2, anything but maps, different
            channels, or fewer than 1 vector.

    Departures: taken from RepDistiller's reading of the authors' code, without its assumption of
    square maps; the paper's text was not read. A singular vector has no sign of its own, on which
    the value depends: here the teacher's entries add up to at least 0. Singular vectors of equal
    singular values have no derivative; that part of the gradient is left out, and the singular
    values themselves carry none.

    >>> maps = torch.arange(12.0).reshape(1, 3, 2, 2)
    >>> kd_svd([maps, maps], [maps, maps]).round(decimals=6)
    tensor(0.)
    """
    check_layers(student_layers, teacher_layers, minimum=2)
    if vectors < 1 or spare < 0:
        raise ValueError(f"vectors must be at least 1 and spare at least 0; got {vectors}, {spare}")
    student_relations, teacher_relations = [], []
    for index, (student, teacher) in enumerate(zip(student_layers, teacher_layers, strict=True)):
        names = f"student_layers[{index}]", f"teacher_layers[{index}]"
        check_maps(**{names[0]: student, names[1]: teacher})
        check_same_channels((names[0], student), (names[1], teacher))
        target, values = _right_vectors(teacher, vectors)
        total = target.sum(dim=1, keepdim=True)
        target = target * torch.where(total < 0, -1.0, 1.0)
        found, _ = _right_vectors(student, vectors + spare)
        weight = unit(values, dim=1).unsqueeze(1)
        student_relations.append(_matched(found, target) * weight)
        teacher_relations.append(target * weight)
    loss = 0
    for level in range(1, len(student_relations)):
        student, teacher = (
            _kernel(relations[level - 1], relations[level])
            for relations in (student_relations, teacher_relations)
        )
        loss = loss + (student - teacher).square().sum(dim=(1, 2, 3)).mean()
    return loss


def irg_transformation(
    student_first: Tensor,
    student_last: Tensor,
    teacher_first: Tensor,
    teacher_last: Tensor,
    variant: Variant = "paper",
) -> Tensor:
    r"""How far each sample moves between two layers, relative to the batch (Liu 2019, IRG).

    .. math:: L = \frac1B \sum_b (\lambda^T_b - \lambda^S_b)^2, \quad
        \lambda_b = \lVert f^2_b - f^1_b \rVert_2^2 / \max_c \lVert f^2_c - f^1_c \rVert_2^2

    Args:
        student_first, student_last: maps of the student, with equally many channels.
        teacher_first, teacher_last: maps of the teacher, with equally many channels, which may
            be others than the student's. Where heights or widths of a network's two maps differ,
            the larger is reduced by average pooling.
        variant: "authors" reduces every map to its mean over the positions first; their loss is
            half of this, with a weight of 0.005.

    Returns:
        A scalar without unit in [0, 1].

    Raises:
        ValueError: for anything but maps, different batch sizes, or two layers of one network
            with different channels, named.

    Departures: squares over the batch's largest, and layers of one width alone, are confirmed in
    the authors' code. Whether the paper's text keeps the positions, as the default does, could
    not be read.

    >>> still, moved = torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    >>> irg_transformation(still, still + moved, still, still + 1)
    tensor(0.2812)
    """
    check_maps(
        student_first=student_first,
        student_last=student_last,
        teacher_first=teacher_first,
        teacher_last=teacher_last,
    )
    check_same_channels(("student_first", student_first), ("student_last", student_last))
    check_same_channels(("teacher_first", teacher_first), ("teacher_last", teacher_last))
    check_variant(variant)
    if variant == "authors":
        student_first, student_last, teacher_first, teacher_last = (
            at_least_float32(maps).mean(dim=(2, 3), keepdim=True)
            for maps in (student_first, student_last, teacher_first, teacher_last)
        )
    return F.mse_loss(_moves(student_first, student_last), _moves(teacher_first, teacher_last))


def _pooled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return maps if tuple(maps.shape[2:]) == size else F.adaptive_max_pool2d(maps, size)


def _moves(first: Tensor, last: Tensor) -> Tensor:
    size = tuple(map(min, first.shape[2:], last.shape[2:]))
    first, last = (F.adaptive_avg_pool2d(at_least_float32(maps), size) for maps in (first, last))
    squares = (last - first).square().sum(dim=(1, 2, 3))
    return ratio(squares, squares.max())


def _kernel(earlier: Tensor, later: Tensor) -> Tensor:
    """The similarity of every entry of one layer's vectors with every entry of the next's."""
    return torch.exp((later.unsqueeze(2) - earlier.unsqueeze(1)).square() / -8)


def _matched(found: Tensor, target: Tensor) -> Tensor:
    """For each target vector the found one with the largest absolute cosine, its sign turned."""
    cosine = product(found.transpose(1, 2), target)
    best = cosine.abs().argmax(dim=1, keepdim=True)
    sign = torch.where(cosine.gather(1, best) < 0, -1.0, 1.0)
    return found.gather(2, best.expand(-1, found.shape[1], -1)) * sign


def _right_vectors(maps: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first right singular vectors (batch, C, count) and values of the maps as (H W, C).

    The vectors come from a decomposition without gradient. The gradient is then that of the
    perturbation series, dv_i = sum_j v_j (v_j' dA v_i) / (s_i² - s_j²) with A = X'X, which stays
    finite: terms between nearly equal singular values are left out.
    """
    matrix = at_least_float32(maps).flatten(2).transpose(1, 2)
    with torch.no_grad():
        _, values, right = torch.linalg.svd(matrix, full_matrices=False)
        squares = values.square()
        vectors = right.transpose(1, 2)[:, :, :count]
        leading = squares[:, None, :count]
        gaps = leading - squares[:, :, None]
        least = 10 * torch.finfo(values.dtype).eps * squares[:, :1, None]
        weights = torch.where(gaps.abs() > least, 1 / gaps, 0)
        outside = torch.where(leading > least, 1 / leading, 0)
    image = product(matrix.transpose(1, 2), product(matrix, vectors))
    change = image - image.detach()
    inside = product(right, change)
    rest = change - product(right.transpose(1, 2), inside)
    moved = product(right.transpose(1, 2), weights * inside) + outside * rest
    return vectors + moved, values[:, :count]
