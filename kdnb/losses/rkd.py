"""RKD (Park et al. 2019): relations of distance and of angle between samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import (
    centred_gram,
    differences,
    gram_distances,
    identity,
    is_small,
    product,
    ratio,
    root,
    rows,
    squared_distances,
    summed_over_anchors,
    unit,
)
from kdnb.losses.checks import Variant, check_samples, check_variant


def rkd_distance(student: Tensor, teacher: Tensor, variant: Variant = "paper") -> Tensor:
    r"""RKD-D (Park 2019): relational distillation of distances.

    .. math:: L = \sum_{i \ne j} l_1\big(\psi(t_i, t_j), \psi(s_i, s_j)\big), \quad
        \psi(a, b) = \lVert a - b \rVert_2 / \mu

    with mu the mean distance over the batch's distinct pairs, for each network separately, and l_1
    the Huber loss with threshold 1. Rotating, shifting or scaling either batch changes nothing.

    Args:
        student, teacher: (batch, ...), at least 2 samples; flattened. The authors found that
            embeddings should not be normalised first.
        variant: "paper" is the sum over ordered pairs; "authors" divides it by batch², which the
            published weights assume (25 on CIFAR, 1 in the authors' metric learning).

    Returns:
        A scalar without unit; 0 when all ratios of distances agree.

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, an empty tensor.

    Departures: the authors' code takes distances from a Gram matrix and floors them at 1e-6, which
    loses digits far from the origin. Here pairs are subtracted. For large maps the batch is centred
    instead, and products are computed in float64 if samples lie close together. Coinciding samples
    have distance 0 and give no gradient. The paper's sum is recalled; the code (lenscloth/RKD) was
    read.

    >>> rkd_distance(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]]))
    tensor(0.1250)
    """
    check_variant(variant)
    check_samples(student=student, teacher=teacher)
    loss = F.smooth_l1_loss(_relative(student), _relative(teacher), reduction="sum")
    return loss / len(student) ** 2 if variant == "authors" else loss


def rkd_angle(student: Tensor, teacher: Tensor, variant: Variant = "paper") -> Tensor:
    r"""RKD-A (Park 2019): relational distillation of angles.

    .. math:: L = \sum_{i \ne j \ne k \ne i} l_1\big(\cos\angle t_i t_j t_k,
        \cos\angle s_i s_j s_k\big)

    with the angle at the middle sample and the Huber loss l_1 with threshold 1. Rotating, shifting
    or scaling either batch changes nothing. The time grows with the cube of the batch size. The
    memory does so up to 161 samples; above, it grows with the square, at the cost of a second
    forward pass.

    Args:
        student, teacher: (batch, ...), at least 3 samples; flattened.
        variant: "paper" is the sum over ordered triples; "authors" is the mean over all batch³
            index triples (weights 50 on CIFAR, 2 in the authors' metric learning).

    Returns:
        A scalar without unit; 0 when all angles agree.

    Raises:
        ValueError: for different batch sizes, fewer than 3 samples, an empty tensor.

    Departures: an angle at two coinciding samples has cosine 0 and no gradient. The paper's sum
    is recalled; the code (lenscloth/RKD) was read.

    >>> corner = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    >>> line = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    >>> rkd_angle(corner, line)
    tensor(1.1716)
    """
    check_variant(variant)
    check_samples(minimum=3, student=student, teacher=teacher)
    ours, theirs, same = _angles(student), _angles(teacher), identity(student)

    def part(anchors: slice) -> Tensor:
        losses = F.smooth_l1_loss(ours(anchors), theirs(anchors), reduction="none")
        if variant == "paper":  # terms with i = j or j = k are already 0
            losses = losses.masked_fill(same, 0)
        return losses.sum()

    loss = summed_over_anchors(len(student), part)
    return loss / len(student) ** 3 if variant == "authors" else loss


def _relative(samples: Tensor) -> Tensor:
    distance = root(squared_distances(rows(samples)))
    pairs = len(samples) * (len(samples) - 1)
    return ratio(distance, distance.sum() / pairs)


def _angles(samples: Tensor) -> Callable[[slice], Tensor]:
    """A function of some anchors: [j, i, k] is the cosine of the angle at j between i and k.

    It returns (anchors, batch, batch), with 0 where i or k is j. Tensors of this size dominate the
    cost, so as few as possible are formed.
    """
    samples = rows(samples)
    if is_small(samples):
        directions = unit(differences(samples))
        return lambda anchors: product(directions[anchors], directions[anchors].transpose(1, 2))
    products = centred_gram(samples)
    seen = products - products.diagonal().unsqueeze(1) / 2
    lengths = root(gram_distances(products))
    scale = ratio(torch.ones_like(lengths), lengths)

    def cosines(anchors: slice) -> Tensor:
        here, there = seen[anchors], scale[anchors]
        inner = products - here.unsqueeze(2) - here.unsqueeze(1)
        return (inner * there.unsqueeze(2) * there.unsqueeze(1)).to(samples.dtype)

    return cosines
