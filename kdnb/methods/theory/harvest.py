r"""Distillation as early stopping (Dong et al. 2019): wrong labels are fitted last.

The authors call it anisotropic information retrieval: a network learns fast along the leading
eigenvectors of the tangent kernel, where the information lies. Their algorithm distils the network
from its own past epoch, so that wrong labels need not be memorised.

Here the caller sets the share of the labels. Of the authors' code we read what a public repository
that uses it (lizhemin15/self-distillation, `cross_entropy.py`, November 2026) says to be theirs:
the network's current answers have a constant share of 0.1 or 0.2; or, instead of its answers, its
likeliest class has a share equal to the part of the batch in which that class is the given label.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses.checks import check_logits


def blended(targets: Tensor, answers: Tensor, share: float) -> Tensor:
    r"""The next epoch's targets (Dong 2019): :math:`\alpha y + (1 - \alpha) p` with answers p.

    Args:
        targets: (batch, classes) the given labels as distributions.
        answers: (batch, classes) probabilities of the network as it was.
        share: alpha, of the given labels, from 0 to 1.

    Raises:
        ValueError: for wrong shapes or shares.
    """
    check_logits(classes=2, targets=targets, answers=answers)
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the labels lies from 0 to 1; got {share}.")
    return share * targets + (1 - share) * answers


def leading_directions(kernel: Tensor, count: int) -> Tensor:
    """The eigenvectors (n, count) of a symmetric kernel (n, n) with the largest eigenvalues.

    Raises:
        ValueError: for a kernel that is not square, or more directions than it has.
    """
    n = len(kernel)
    if kernel.shape != (n, n) or not 1 <= count <= n:
        raise ValueError(f"{count} directions of a kernel of shape {tuple(kernel.shape)}?")
    return torch.linalg.eigh(kernel.double()).eigenvectors[:, -count:].flip(1)


def energy_in(directions: Tensor, vectors: Tensor) -> float:
    """The share of the squared length of vectors (n, k) that lies in some directions (n, m).

    The directions must be orthonormal. The result is 0 for vectors of length 0.
    """
    vectors = vectors.to(directions)
    whole = float(vectors.square().sum())
    return float((directions.T @ vectors).square().sum()) / whole if whole else 0.0
