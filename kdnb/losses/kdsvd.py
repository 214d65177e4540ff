"""KD-SVD (Lee, Kim and Song 2018): relations between the singular vectors of layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses._arithmetic import product, ratio, unit
from kdnb.losses.checks import (
    at_least_float32,
    check_channels,
    check_lists,
    check_maps,
    check_number,
)

CLOSE_GAP = 1e-3  # of two squared singular values, relative to the largest


def kd_svd(
    student_layers: Sequence[Tensor],
    teacher_layers: Sequence[Tensor],
    vectors: int = 1,
    spare: int = 3,
) -> Tensor:
    r"""KD-SVD (Lee, Kim and Song 2018): relations of singular vectors of neighbouring layers.

    .. math:: L = \frac1B \sum_b \sum_{l > 1} \sum_{ijk}
        \big(e^{-(v^S_{l,ik} - v^S_{l-1,jk})^2 / 8} - e^{-(v^T_{l,ik} - v^T_{l-1,jk})^2 / 8}\big)^2

    Each sample's map, as a matrix (H W, C), is reduced to its first right singular vectors v_k; The
    student's vectors are matched to the teacher's by the largest absolute cosine and take its sign.
    Both are weighted by the teacher's singular values, which are scaled to length 1.

    Args:
        student_layers, teacher_layers: the same number of maps, at least 2, first layer first; both
            maps of a pair have the same number of channels. Height and width may differ.
        vectors: how many singular vectors of the teacher are matched; 1 in the authors' code.
        spare: how many more of the student's vectors are searched for a match; 3 there.

    Returns:
        A scalar, summed over channels and pairs of layers, averaged over the batch.

    Raises:
        ValueError: for lists of different length or fewer than 2 layers, for tensors that are not
            maps, different channels, or fewer than 1 vector.

    Departures: taken from RepDistiller's version of the authors' code, without its assumption of
    square maps; the paper's text was not read. The value depends on the sign of the singular
    vectors, which is arbitrary; here the teacher's entries add up to at least 0. Singular vectors
    of equal singular values have no derivative, so that part of the gradient fades as two values
    approach each other (:func:`right_vectors`). The singular values themselves carry no gradient.
    The authors also clip this loss's gradient, for each parameter, to that of the labels; this is
    part of the training, and `kdnb.distil` does it.

    >>> maps = torch.arange(12.0).reshape(1, 3, 2, 2)
    >>> kd_svd([maps, maps], [maps, maps]).round(decimals=6)
    tensor(0.)
    """
    check_lists(2, student_layers=student_layers, teacher_layers=teacher_layers)
    check_number(least=1, whole=True, vectors=vectors)
    check_number(least=0, whole=True, spare=spare)
    student_relations, teacher_relations = [], []
    for index, (student, teacher) in enumerate(zip(student_layers, teacher_layers, strict=True)):
        names = f"student_layers[{index}]", f"teacher_layers[{index}]"
        pair = dict(zip(names, (student, teacher), strict=True))
        check_maps("B", **pair)
        check_channels(**pair)
        target, values = right_vectors(teacher, vectors)
        total = target.sum(dim=1, keepdim=True)
        target = target * torch.where(total < 0, -1.0, 1.0)
        found, _ = right_vectors(student, vectors + spare)
        weight = unit(values, dim=1).unsqueeze(1)
        student_relations.append(matched(found, target) * weight)
        teacher_relations.append(target * weight)
    loss = 0
    for level in range(1, len(student_relations)):
        student, teacher = (
            _kernel(relations[level - 1], relations[level])
            for relations in (student_relations, teacher_relations)
        )
        loss = loss + (student - teacher).square().sum(dim=(1, 2, 3)).mean()
    return loss


def _kernel(earlier: Tensor, later: Tensor) -> Tensor:
    """The similarity of every entry of one layer's vectors with every entry of the next's."""
    return torch.exp((later.unsqueeze(2) - earlier.unsqueeze(1)).square() / -8)


def matched(found: Tensor, target: Tensor) -> Tensor:
    """For each target vector, the found one with the largest absolute cosine, sign matched."""
    cosine = product(found.transpose(1, 2), target)
    best = cosine.abs().argmax(dim=1, keepdim=True)
    sign = torch.where(cosine.gather(1, best) < 0, -1.0, 1.0)
    return found.gather(2, best.expand(-1, found.shape[1], -1)) * sign


def right_vectors(maps: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first right singular vectors (batch, C, count) and singular values of maps as (H W, C).

    The decomposition itself is not differentiated. The gradient is that of the perturbation series,
    dv_i = sum_j v_j (v_j' dA v_i) / g with A = X'X and the gap g = s_i² - s_j², in which 1 / g is
    replaced by g / (g² + d²), d a thousandth of the largest s². This removes the pole: no term is
    larger than 500 / s_1², and the term of two equal values is 0. A map that is not finite has NaN
    vectors.
    """
    matrix = at_least_float32(maps).flatten(2).transpose(1, 2)
    with torch.no_grad():
        finite = matrix.isfinite().all(dim=2, keepdim=True).all(dim=1, keepdim=True)
        _, values, right = torch.linalg.svd(matrix.where(finite, 0), full_matrices=False)
        squares = values.square()
        vectors = right.transpose(1, 2)[:, :, :count]
        leading, largest = squares[:, None, :count], squares[:, :1, None]
        weights, outside = (
            _inverse(gap, largest) for gap in (leading - squares[:, :, None], leading)
        )
    image = product(matrix.transpose(1, 2), product(matrix, vectors))
    change = image - image.detach()
    inside = product(right, change)
    rest = change - product(right.transpose(1, 2), inside)
    moved = product(right.transpose(1, 2), weights * inside) + outside * rest
    return vectors + moved, values[:, :count]


def _inverse(gap: Tensor, largest: Tensor) -> Tensor:
    """1 / gap without its pole at 0."""
    part = ratio(gap, largest)
    return ratio(part / (part.square() + CLOSE_GAP**2), largest)
