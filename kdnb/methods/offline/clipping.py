"""Gradient clipping to the labels' gradient, as in the training of KD-SVD and MHGD."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.training.wrapped import gradients_asked_for

EPOCHS = 100  # of the authors' training


def share(epoch: int, epochs: int) -> float:
    """The largest length of a term's gradient, relative to the labels': 1 / (1 + exp(-e)).

    e counts from 0 in the authors' 100 epochs, to which any other number is scaled.

    >>> share(0, 10), round(share(1, 50), 3)
    (0.5, 0.881)
    """
    return 1 / (1 + math.exp(-EPOCHS * epoch / max(1, epochs)))


def clip(parts: Iterable[Any], terms: dict[str, Tensor], student: nn.Module, most: float) -> None:
    """Clip in place the gradients of terms whose methods require it, by that of `hard`.

    Args:
        parts: each with a name and a module.
        terms: by the parts' names, weighted, with `hard`.
    """
    for part in parts:
        if getattr(part.module, "clipped", False):
            terms[part.name] = clipped(terms[part.name], terms["hard"], student, part.module, most)


def clipped(
    term: Tensor, hard: Tensor, student: nn.Module, learning: nn.Module | None, most: float
) -> Tensor:
    """The same value, with a gradient clipped separately for each parameter.

    For a parameter of the student, the gradient of the term is at most `most` times as long as that
    of the labels (their code: Lee and Song 2019, `clip_grad` of KD_methods_with_TF).

    Args:
        term: the loss, weighted.
        hard: the weighted cross-entropy with the labels.
        student: the network whose gradients are clipped.
        learning: other parameters of the term, whose gradients are not clipped.
    """
    moved = [p for p in student.parameters() if p.requires_grad]
    beside = [] if learning is None else [p for p in learning.parameters() if p.requires_grad]
    if not term.requires_grad:
        return term
    ask = {"retain_graph": True, "allow_unused": True}
    with gradients_asked_for():
        found = torch.autograd.grad(term, [*moved, *beside], **ask)
        wanted = (
            torch.autograd.grad(hard, moved, **ask) if hard.requires_grad else [None] * len(moved)
        )
    value = term.detach()
    for parameter, gradient, label in zip(moved, found, wanted, strict=False):
        if gradient is None or label is None:  # no gradient from the labels, so none from the term
            continue
        length = gradient.norm()
        limit = most * label.norm()
        factor = torch.where(length > limit, limit / length, 1.0)
        value = value + _with_gradient(parameter, gradient * factor)
    for parameter, gradient in zip(beside, found[len(moved) :], strict=True):
        if gradient is not None:
            value = value + _with_gradient(parameter, gradient)
    return value


def _with_gradient(parameter: Tensor, gradient: Tensor) -> Tensor:
    """0 whose derivative by the parameter is the gradient."""
    product = (parameter * gradient.detach()).sum()
    return product - product.detach()
