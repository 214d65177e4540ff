"""Generalised distillation (Lopez-Paz et al. 2016): targets from a teacher with another view.

Both terms of the loss, `kdnb.losses.generalised_distillation`, are cross-entropies with the same
student answers, so together they are one cross-entropy with mixed targets. The functions here make
these targets, and controls with which to compare a gain: the same entropy without a teacher, the
teacher's mean answer for each class, and its answers to other samples of the class.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import (
    Variant,
    check_labels,
    check_logits,
    check_number,
    check_temperature,
    check_variant,
)
from kdnb.training.randomness import check_seed


def mixed_targets(
    teacher_logits: Tensor,
    labels: Tensor,
    teacher_share: float = 0.5,
    temperature: float = 1.0,
    variant: Variant = "paper",
) -> Tensor:
    r"""The targets whose cross-entropy is the loss of generalised distillation (equations 4, 5).

    .. math:: t_b = (1 - \lambda)\, y_b + \lambda\, \mathrm{softmax}(v_b / T)

    Args:
        teacher_logits: v, (batch, classes), for the teacher's own view.
        labels: (batch,) integers.
        teacher_share: lambda in [0, 1].
        temperature: T > 0.
        variant: "authors" multiplies the teacher's part by T², as their code does; a row then
            sums to 1 - lambda + lambda T².

    Returns:
        (batch, classes), of the teacher's type.

    Raises:
        ValueError: for wrong shapes, a share outside [0, 1], or a temperature that is not above 0.
    """
    check_logits(classes=2, teacher_logits=teacher_logits)
    check_labels(teacher_logits, labels)
    check_number(least=0, most=1, teacher_share=teacher_share)
    check_temperature(temperature, len(teacher_logits))
    check_variant(variant)
    soft = (teacher_logits / temperature).softmax(1)
    weight = teacher_share * (temperature**2 if variant == "authors" else 1.0)
    return (1 - teacher_share) * _one_hot(labels, teacher_logits) + weight * soft


def smoothed_like(targets: Tensor, labels: Tensor) -> Tensor:
    """Smoothed labels with the mean entropy of given targets: a control without a teacher.

    Args:
        targets: (batch, classes) probabilities.
        labels: (batch,) integers.

    Returns:
        (batch, classes): 1 - e + e / classes for the label and e / classes elsewhere, with one e
        in [0, 1] for all.

    Raises:
        ValueError: for wrong shapes.
    """
    check_logits(classes=2, targets=targets)
    check_labels(targets, labels)
    _check_shares(targets)
    wanted = torch.special.entr(targets.double()).sum(1).mean()
    classes, low, high = targets.shape[1], 0.0, 1.0
    for _ in range(60):  # bisection: entropy rises with the smoothing
        middle = (low + high) / 2
        rest = torch.full((classes,), middle / classes, dtype=torch.float64)
        rest[0] += 1 - middle
        low, high = (middle, high) if torch.special.entr(rest).sum() < wanted else (low, middle)
    return (1 - low) * _one_hot(labels, targets) + low / classes


def class_means(targets: Tensor, labels: Tensor) -> Tensor:
    """The mean target of each sample's class: a control that keeps only class similarities.

    Args:
        targets: (batch, classes).
        labels: (batch,) integers.

    Returns:
        (batch, classes).

    Raises:
        ValueError: for wrong shapes.
    """
    check_logits(classes=2, targets=targets)
    check_labels(targets, labels)
    sums = torch.zeros(targets.shape[1], targets.shape[1], dtype=targets.dtype)
    sums.index_add_(0, labels, targets)
    counts = labels.bincount(minlength=targets.shape[1]).clamp_min(1)
    return (sums / counts[:, None])[labels]


def shuffled_within(labels: Tensor, seed: int) -> Tensor:
    """Indices (batch,) that give each sample another of its class: a permutation in each class.

    `targets[shuffled_within(labels, seed)]` keeps the targets of a class, but not to which sample
    each belongs. Each class is shifted by one in a random order, so no sample keeps its own target
    if its class has two or more.
    """
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point():
        raise ValueError("labels must be integers (batch,), the class of each sample.")
    check_seed(seed)
    stream, places = torch.Generator().manual_seed(seed), torch.arange(len(labels))
    for label in labels.unique():
        own = (labels == label).nonzero().squeeze(1)
        own = own[torch.randperm(len(own), generator=stream)]
        places[own] = own.roll(1)
    return places


def _check_shares(targets: Tensor) -> None:
    if not bool((targets >= 0).all()) or not bool(torch.isfinite(targets).all()):
        raise ValueError(
            "targets must be probabilities, finite and at least 0: softmax logits first."
        )


def _one_hot(labels: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(labels, like.shape[1]).to(like.dtype)
