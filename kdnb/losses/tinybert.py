"""TinyBERT: layer-to-layer distillation of transformers (Jiao et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_heads,
    check_number,
    check_present,
    check_samples,
    check_variant,
)


def attention_matrices(
    student_scores: Tensor,
    teacher_scores: Tensor,
    present: Tensor | None = None,
    variant: Variant = "paper",
) -> Tensor:
    r"""TinyBERT's attention loss: squared differences of unnormalised scores (Jiao 2020).

    .. math:: L = \frac1h \sum_{i=1}^h \mathrm{MSE}(\mathbf A_i^S, \mathbf A_i^T), \quad
        \mathbf A = Q K^\top / \sqrt{d_k}

    for one pair of layers; the caller sums over the student's layers.

    Args:
        student_scores, teacher_scores: (batch, heads, tokens, tokens), before the softmax, see
            :func:`kdnb.losses.attention_scores`.
        present: (batch, tokens) booleans, False for padding; all tokens count if None.
        variant: "authors" sets pairs with padding to 0 and keeps them in the mean, so the loss
            shrinks with padding; "paper" is the mean over present pairs.

    Returns:
        A scalar in squared units of the scores: the mean over batch, heads and pairs of tokens.

    Raises:
        ValueError: for wrong shapes, or different numbers of heads.

    Departures: the equation is recalled; unnormalised scores and padding follow the authors' code,
    which recognises padded keys by their score of -10,000 and keeps padded queries.

    >>> attention_matrices(torch.zeros(1, 2, 3, 3), torch.full((1, 2, 3, 3), 2.0))
    tensor(4.)
    """
    check_variant(variant)
    check_heads(student_scores=student_scores, teacher_scores=teacher_scores)
    if student_scores.shape != teacher_scores.shape:
        raise ValueError(
            "student_scores and teacher_scores must have one shape, with as many heads; got "
            f"{tuple(student_scores.shape)} and {tuple(teacher_scores.shape)}."
        )
    squares = (at_least_float32(student_scores) - at_least_float32(teacher_scores)).square()
    if present is None:
        return squares.mean()
    batch, heads, tokens, keys = squares.shape
    if tokens != keys:
        raise ValueError(f"scores must be (..., tokens, tokens); got {tuple(squares.shape)}.")
    check_present(present, batch, tokens, student_scores=student_scores)
    rows = (
        present[:, None, :, None]
        if variant == "paper"
        else torch.ones_like(present)[:, None, :, None]
    )
    kept = rows & present[:, None, None, :]
    total = squares.masked_fill(~kept, 0).sum()
    pairs = kept.sum() * heads if variant == "paper" else squares.numel()
    return nan_from(total / pairs, student_scores, teacher_scores)


def hidden_states(
    projected: Tensor, teacher_states: Tensor, present: Tensor | None = None
) -> Tensor:
    r"""TinyBERT's loss on hidden states or embeddings (Jiao 2020): MSE(H^S W_h, H^T).

    Args:
        projected: (batch, tokens, teacher's width), the student's states after the learnt map W_h.
        teacher_states: the same shape.
        present: (batch, tokens) booleans, False for padding; all if None.

    Returns:
        A scalar in squared units of the states: the mean over present tokens and width.

    Raises:
        ValueError: for wrong shapes.

    Departures: the mean of squares follows the authors' code
    (huawei-noah/Pretrained-Language-Model, `general_distill.py`), which includes padding; the
    paper's equation was not read.

    >>> hidden_states(torch.zeros(1, 2, 3), torch.full((1, 2, 3), 2.0))
    tensor(4.)
    """
    check_samples(minimum=1, projected=projected, teacher_states=teacher_states)
    if projected.ndim != 3 or projected.shape != teacher_states.shape:
        raise ValueError(
            "projected and teacher_states must be (batch, tokens, width) of one shape: give the "
            "student a linear map to the teacher's width; got "
            f"{tuple(projected.shape)} and {tuple(teacher_states.shape)}."
        )
    squares = (at_least_float32(projected) - at_least_float32(teacher_states)).square()
    if present is None:
        return squares.mean()
    check_present(present, *squares.shape[:2], projected=projected)
    total = squares.masked_fill(~present[..., None], 0).sum()
    return nan_from(total / (present.sum() * squares.shape[2]), projected, teacher_states)


def uniform_layers(student_layers: int, teacher_layers: int) -> list[int]:
    r"""TinyBERT's layer map (Jiao 2020): student layer m learns from teacher layer m N / M.

    Args:
        student_layers: M.
        teacher_layers: N, a multiple of M.

    Returns:
        The indices of M teacher layers, from 0.

    Raises:
        ValueError: if N is not a multiple of M.

    >>> uniform_layers(2, 6)
    [2, 5]
    """
    check_number(least=1, whole=True, student_layers=student_layers, teacher_layers=teacher_layers)
    if teacher_layers % student_layers:
        raise ValueError(
            f"teacher_layers must be a multiple of student_layers; got {teacher_layers} and "
            f"{student_layers}."
        )
    step = teacher_layers // student_layers
    return [step * (number + 1) - 1 for number in range(student_layers)]
