"""PKT (Passalis and Tefas 2018; Passalis 2020): neighbourhoods in a batch as distributions.

The "paper" variants sum over pairs of distinct samples; the "authors" variants keep each sample's
pair with itself, whose similarity is 1 by construction, and take the mean over batch², which is why
their weights are tens of thousands. Gradients flow into the teacher too unless it is detached.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import cosines, identity, root, rows, squared_distances
from kdnb.losses.checks import Variant, check_samples, check_variant

FLOOR = 1e-7  # the smallest similarity: 0, for opposite samples, makes the divergence infinite


def probabilistic_transfer(student: Tensor, teacher: Tensor, variant: Variant = "paper") -> Tensor:
    r"""Probabilistic knowledge transfer with the cosine kernel (Passalis and Tefas 2018, PKT).

    .. math:: L = \sum_j \sum_{i \ne j} p_{i|j} \log \frac{p_{i|j}}{q_{i|j}}, \quad
        p_{i|j} = \frac{K(t_i, t_j)}{\sum_{k \ne j} K(t_k, t_j)}, \quad
        K(a, b) = \tfrac12 \Big(\frac{a^\top b}{\lVert a \rVert \lVert b \rVert} + 1\Big)

    with q the same for the student. The scale of a sample and the widths of the layers do not
    matter, so features and maps of any shape can be paired. The authors take the penultimate layer.

    Args:
        student, teacher: (batch, ...), at least 2 samples; flattened.
        variant: "authors" keeps i = j, adds 1e-7 inside the logarithm, and takes the mean over
            batch²; the public weight of 30000 belongs to it.

    Returns:
        A scalar in nats, at least 0; 0 when the conditional probabilities agree. (In "authors", the
        1e-7 then leaves a gradient of about that size.)

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, an empty tensor.

    Departures: in the "paper" variant similarities are floored at 1e-7, to keep the loss finite for
    opposite samples. The paper's equation is recalled; the code (passalis/probabilistic_kt) was
    read. It also adds 1e-7 to the norms. Both variants here leave this out: a zero sample has
    cosine 0 with all others anyway.

    >>> student, teacher = torch.eye(3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> probabilistic_transfer(student, teacher)
    tensor(0.1133)
    """
    check_variant(variant)
    check_samples(student=student, teacher=teacher)
    q = _probabilities(_cosine_kernel(student), variant)
    p = _probabilities(_cosine_kernel(teacher), variant)
    if variant == "authors":
        return (p * torch.log((p + FLOOR) / (q + FLOOR))).mean()
    same = identity(p)
    return (p * (_log(p, same) - _log(q, same))).sum()


def hybrid_transfer(student: Tensor, teacher: Tensor, variant: Variant = "paper") -> Tensor:
    r"""PKT for lightweight networks (Passalis 2020, TNNLS): two kernels, symmetric divergence.

    .. math:: L = \sum_{K} \sum_j \sum_{i \ne j} \big(p^K_{i|j} - q^K_{i|j}\big)
        \big(\log p^K_{i|j} - \log q^K_{i|j}\big)

    summed over the cosine kernel of :func:`probabilistic_transfer` and the Student-t kernel 1 / (1
    + |a - b|). The divergence is Jeffreys', KL in both directions.

    Args:
        student, teacher: (batch, ...), at least 2 samples; flattened.
        variant: "authors" keeps i = j and takes the mean over batch² of each kernel's part.

    Returns:
        A scalar in nats, at least 0; 0 when the probabilities agree under both kernels.

    Raises:
        ValueError: for different batch sizes, fewer than 2 samples, an empty tensor.

    Departures: kernels and divergence follow the authors' code (passalis/pkth, "combined", where
    the t kernel's power is 1). The paper itself could not be read; leaving out i = j is carried
    over from the 2018 paper. The code adds 1e-6 under its root and to the norms, which is left out
    here; cosine similarities are floored at 1e-7.

    >>> student, teacher = torch.eye(3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> hybrid_transfer(student, teacher)
    tensor(0.5961)
    """
    check_variant(variant)
    check_samples(student=student, teacher=teacher)
    total = torch.zeros((), device=student.device)
    for kernel in (_cosine_kernel, _student_t_kernel):
        q = _probabilities(kernel(student), variant)
        p = _probabilities(kernel(teacher), variant)
        same = identity(p) & (variant == "paper")
        divergence = (p - q) * (_log(p, same) - _log(q, same))
        total = total + (divergence.mean() if variant == "authors" else divergence.sum())
    return total


def _cosine_kernel(samples: Tensor) -> Tensor:
    return ((cosines(rows(samples)) + 1) / 2).clamp_min(FLOOR)


def _student_t_kernel(samples: Tensor) -> Tensor:
    return 1 / (1 + root(squared_distances(rows(samples))))


def _probabilities(kernel: Tensor, variant: Variant) -> Tensor:
    if variant == "paper":
        kernel = kernel.masked_fill(identity(kernel), 0)
    return kernel / kernel.sum(dim=1, keepdim=True)


def _log(probabilities: Tensor, excluded: Tensor) -> Tensor:
    """The logarithm, with 0 for excluded entries."""
    return probabilities.masked_fill(excluded, 1).log()
