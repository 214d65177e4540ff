"""Relations between samples (section 2.3): distances, angles, similarities, graphs.

Every loss takes a batch of embeddings or maps (batch, ...), flattens each sample, and works in
float32 at least whatever the autocast mode. Only the batch size of student and teacher must
agree: a relation among samples has the same shape at any width and resolution.
Gradients flow into the teacher too unless it is detached.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.relation._geometry import (
    centred_gram,
    check_positive,
    check_samples,
    check_variant,
    cosines,
    differences,
    gram,
    gram_distances,
    identity,
    is_small,
    product,
    ratio,
    root,
    rows,
    squared_distances,
    unit,
)

Variant = Literal["paper", "authors"]


def rkd_distance(student: Tensor, teacher: Tensor, variant: Variant = "paper") -> Tensor:
    r"""Relational distillation of distances (Park 2019, RKD-D).

    .. math:: L = \sum_{i \ne j} l_1\big(\psi(t_i, t_j), \psi(s_i, s_j)\big), \quad
        \psi(a, b) = \lVert a - b \rVert_2 / \mu

    with the mean distance mu of the batch's distinct pairs, one for each network, and the Huber
    loss l_1 with threshold 1. Rotating, moving or scaling either batch changes nothing.

    Args:
        student, teacher: (batch, ...), at least 2 samples; flattened. The authors found that
            embeddings should not be normalised first.
        variant: "paper" is the sum over ordered pairs; "authors" divides it by batch², to which
            the public weights belong (25 on CIFAR, 1 in the authors' metric learning).

    Returns:
        A scalar without unit; 0 when all ratios of distances agree.

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, anything empty.

    Departures: the authors' code takes distances from a Gram matrix and floors them at 1e-6,
    which loses digits far from the origin. Here pairs are subtracted, or, for large maps, the
    batch is centred first. Coinciding samples have distance 0 and give no gradient. The paper's
    sum is recalled; the code (lenscloth/RKD) was read.

    >>> rkd_distance(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]]))
    tensor(0.1250)
    """
    check_variant(variant)
    check_samples(student=student, teacher=teacher)
    loss = F.smooth_l1_loss(_relative(student), _relative(teacher), reduction="sum")
    return loss / len(student) ** 2 if variant == "authors" else loss


def rkd_angle(student: Tensor, teacher: Tensor, variant: Variant = "paper") -> Tensor:
    r"""Relational distillation of angles (Park 2019, RKD-A).

    .. math:: L = \sum_{i \ne j \ne k \ne i} l_1\big(\cos\angle t_i t_j t_k,
        \cos\angle s_i s_j s_k\big)

    with the angle at the middle sample and the Huber loss l_1 with threshold 1. It is unchanged
    by rotating, moving or scaling either batch.

    Args:
        student, teacher: (batch, ...), at least 3 samples; flattened.
        variant: "paper" is the sum over ordered triples; "authors" is the mean over all batch³
            index triples (weights 50 on CIFAR, 2 in the authors' metric learning).

    Returns:
        A scalar without unit; 0 when all angles agree.

    Raises:
        ValueError: for different batch sizes, fewer than 3 samples, anything empty.

    Departures: an angle at two coinciding samples has cosine 0 and no gradient. The paper's sum
    is recalled; the code (lenscloth/RKD) was read.

    >>> corner = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    >>> line = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    >>> rkd_angle(corner, line)
    tensor(1.1716)
    """
    check_variant(variant)
    check_samples(minimum=3, student=student, teacher=teacher)
    losses = F.smooth_l1_loss(_angles(student), _angles(teacher), reduction="none")
    if variant == "authors":
        return losses.mean()
    return losses.masked_fill(identity(student), 0).sum()  # i = j and j = k are 0 as they are


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Similarity-preserving distillation (Tung and Mori 2019, equations 1 to 4).

    .. math:: L = \frac{1}{B^2} \lVert G_T - G_S \rVert_F^2, \quad
        G_{i:} = \tilde G_{i:} / \lVert \tilde G_{i:} \rVert_2,\; \tilde G = Q Q^\top

    with one flattened sample in each row of Q. An orthogonal map of the features, or one scale
    for the whole batch, changes nothing.

    Args:
        student, teacher: (batch, ...); flattened. One pair of layers; add over pairs.

    Returns:
        A scalar without unit, at most 4 / B.

    Raises:
        ValueError: for different batch sizes or anything empty.

    Departures: none known in the reading of RepDistiller; the paper's weight is 3000. A sample
    whose activations are all 0 has a row of zeros and no gradient. The numbers of the equations
    are recalled.

    >>> similarity_preserving(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.ones(2, 2))
    tensor(0.2929)
    """
    check_samples(minimum=1, student=student, teacher=teacher)
    student, teacher = rows(student), rows(teacher)
    return F.mse_loss(unit(gram(student), dim=1), unit(gram(teacher), dim=1))


def correlation_congruence(
    student: Tensor, teacher: Tensor, kernel_coefficient: float = 0.4, order: int = 2
) -> Tensor:
    r"""Correlation congruence (Peng 2019), with the Gaussian kernel as a Taylor polynomial.

    .. math:: L = \frac{1}{B^2} \lVert \psi(T) - \psi(S) \rVert_F^2, \quad
        \psi_{ij} = e^{-2c} \sum_{p=0}^{P} \frac{(2c)^p}{p!} (x_i^\top x_j)^p

    for L2-normalised samples x, the expansion of exp(-c |x_i - x_j|²). An orthogonal map of the
    features, or a scale for each sample, changes nothing.

    Args:
        student, teacher: (batch, ...); flattened and normalised here.
        kernel_coefficient: c > 0, the paper's gamma, 0.4.
        order: P >= 1, the highest power kept; 2 in the paper.

    Returns:
        A scalar without unit.

    Raises:
        ValueError: for different batch sizes, anything empty, or a wrong coefficient or order.

    Departures: the paper's equation is recalled; the kernel, its order and coefficient agree with
    several public readings. RepDistiller multiplies neighbours in the batch instead, which
    depends on the batch's order and is not offered.

    >>> correlation_congruence(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.ones(2, 2))
    tensor(0.1266)
    """
    check_positive(kernel_coefficient=kernel_coefficient, order=order)
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


def locality_preserving(
    student: Tensor, teacher: Tensor, neighbours: int = 5, bandwidth: float = math.sqrt(2)
) -> Tensor:
    r"""Locality-preserving embedding of the teacher's manifold (Chen 2021, LP).

    .. math:: L = \frac{1}{B k} \sum_i \sum_{j \in N_k(i)} w_{ij} \lVert s_i - s_j \rVert_2^2,
        \quad w_{ij} = \exp\big(-\lVert t_i - t_j \rVert_2^2 / \delta^2\big)

    where N_k(i) holds the k samples of the batch nearest to i in the teacher's space: what lies
    close together there is drawn together here. It has no term that pushes apart and is 0 for a
    student that maps all samples to one point, so it is always added to a task loss; at
    student = teacher it is not 0.

    Args:
        student, teacher: (batch, ...); flattened. The paper takes the layer before the last.
        neighbours: k >= 1; at most batch - 1 are used.
        bandwidth: delta > 0 in the teacher's units; far too small and every weight is 0.

    Returns:
        A scalar in squared units of the student's features.

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, anything empty, or wrong
            neighbours or bandwidth.

    Departures: the weights and the sum over neighbours are as a public reading has them; the
    paper could not be read, so the factor 1 / (B k), k = 5 and delta² = 2 are not confirmed.

    >>> line = torch.tensor([[0.0], [1.0], [3.0]])
    >>> locality_preserving(line, line, neighbours=1, bandwidth=1.0)
    tensor(0.2697)
    """
    check_positive(neighbours=neighbours, bandwidth=bandwidth)
    check_samples(student=student, teacher=teacher)
    kept = min(neighbours, len(student) - 1)
    teacher_squares = squared_distances(rows(teacher))
    reachable = teacher_squares.detach().masked_fill(identity(teacher), math.inf)
    nearest = reachable.topk(kept, dim=1, largest=False).indices
    weights = torch.exp(-teacher_squares.gather(1, nearest) / bandwidth**2)
    return (weights * squared_distances(rows(student)).gather(1, nearest)).mean()


def irg_edges(student: Tensor, teacher: Tensor) -> Tensor:
    r"""The edges of the instance relationship graph at one layer (Liu 2019).

    .. math:: L = \frac{1}{B^2} \lVert A_T - A_S \rVert_F^2, \quad
        A_{ij} = \lVert x_i - x_j \rVert_2^2 / \max_{kl} \lVert x_k - x_l \rVert_2^2

    Args:
        student, teacher: (batch, ...), at least 2 samples; flattened.

    Returns:
        A scalar without unit in [0, 1].

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, anything empty.

    Departures: squared distances over their largest are confirmed in the authors' code, where the
    loss is B/2 times this, with a weight of 0.005; it takes the pooled last layer and holds the
    largest distance constant in the gradient.

    >>> irg_edges(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [0.0], [2.0]]))
    tensor(0.1389)
    """
    check_samples(student=student, teacher=teacher)
    student, teacher = squared_distances(rows(student)), squared_distances(rows(teacher))
    return F.mse_loss(ratio(student, student.max()), ratio(teacher, teacher.max()))


def _relative(samples: Tensor) -> Tensor:
    distance = root(squared_distances(rows(samples)))
    pairs = len(samples) * (len(samples) - 1)
    return ratio(distance, distance.sum() / pairs)


def _angles(samples: Tensor) -> Tensor:
    """(batch, batch, batch): entry [j, i, k] is the cosine of the angle at j between i and k.

    It is 0 where i or k is j. Tensors of this size are as few as can be: they cost most of it.
    """
    samples = rows(samples)
    if is_small(samples):
        directions = unit(differences(samples))
        return product(directions, directions.transpose(1, 2))
    products = centred_gram(samples)
    seen = products - products.diagonal().unsqueeze(1) / 2
    inner = products - seen.unsqueeze(2) - seen.unsqueeze(1)
    lengths = root(gram_distances(products))
    scale = ratio(torch.ones_like(lengths), lengths)
    return inner * scale.unsqueeze(2) * scale.unsqueeze(1)
