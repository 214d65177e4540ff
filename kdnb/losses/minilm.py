"""MiniLM: deep self-attention distillation (Wang et al. 2020), and its second version (2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses._arithmetic import divergence, nan_from, product
from kdnb.losses.checks import (
    at_least_float32,
    check_heads,
    check_lists,
    check_number,
    check_present,
)


def attention_scores(queries: Tensor, keys: Tensor) -> Tensor:
    r"""Scaled products of all pairs of tokens, before the softmax: :math:`Q K^\top / \sqrt{d_k}`.

    With values for both arguments it is MiniLM's value relation (Wang 2020).

    Args:
        queries, keys: (batch, heads, tokens, d_k), of the same shape.

    Returns:
        (batch, heads, tokens, tokens), one row per query.

    Raises:
        ValueError: for wrong shapes.

    >>> attention_scores(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4))
    tensor([[[[2., 2.],
              [2., 2.]]]])
    """
    check_heads(queries=queries, keys=keys)
    if queries.shape != keys.shape:
        raise ValueError(
            f"queries and keys must have one shape; got {tuple(queries.shape)} and {tuple(keys.shape)}."
        )
    scores = product(at_least_float32(queries), at_least_float32(keys).mT)
    return scores / queries.shape[-1] ** 0.5


def relation_divergence(
    student_scores: Tensor, teacher_scores: Tensor, present: Tensor | None = None
) -> Tensor:
    r"""KL of the teacher's and the student's distributions over tokens (Wang 2020, 2021).

    .. math:: L = \frac1B \sum_b \frac{1}{A_h |x_b|} \sum_{a=1}^{A_h} \sum_{t=1}^{|x_b|}
        \mathrm{KL}\big(\mathbf A^T_{a,t} \,\|\, \mathbf A^S_{a,t}\big)

    Args:
        student_scores, teacher_scores: (batch, heads, tokens, tokens), before the softmax over the
            last axis; log-probabilities also work.
        present: (batch, tokens) booleans, False for padding, which is excluded as key and as query;
            all tokens count if None.

    Returns:
        A scalar in nats: the mean over heads and present queries of a sequence, then over
        sequences.

    Raises:
        ValueError: for wrong shapes, or a sequence without a token.

    Departures: the terms were checked against public summaries and a public implementation of
    MiniLMv2 (Bloomberg 2022), which cites this as equation 6. Like that implementation, we take the
    mean over sequences; the paper writes the loss for one sequence.

    >>> student, teacher = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 0.0], [50.0, 0.0]]]])
    >>> relation_divergence(student, teacher)
    tensor(0.3466)
    """
    check_heads(student_scores=student_scores, teacher_scores=teacher_scores)
    if student_scores.shape != teacher_scores.shape or (
        student_scores.shape[-1] != student_scores.shape[-2]
    ):
        raise ValueError(
            "student_scores and teacher_scores must be (batch, heads, tokens, tokens) of one shape: "
            "MiniLM needs as many heads in the student as in the teacher (version 2 does not); got "
            f"{tuple(student_scores.shape)} and {tuple(teacher_scores.shape)}."
        )
    student, teacher = at_least_float32(student_scores), at_least_float32(teacher_scores)
    batch, _, tokens, _ = student.shape
    if present is not None:
        check_present(present, batch, tokens, student_scores=student_scores)
        absent = ~present[:, None, None]
        student = student.masked_fill(absent, -torch.inf)
        teacher = teacher.masked_fill(absent, -torch.inf)
    rows = divergence(teacher.flatten(0, 2), student.flatten(0, 2)).view(batch, -1, tokens)
    if present is None:
        return rows.mean()
    weights = present.to(rows.dtype) / present.sum(1, keepdim=True)
    # NaN in padding, which the mask would hide, is an error as well.
    return nan_from((rows.mean(1) * weights).sum(1).mean(), student_scores, teacher_scores)


def deep_self_attention(
    student_heads: Sequence[Tensor],
    teacher_heads: Sequence[Tensor],
    value_weight: float = 1.0,
    present: Tensor | None = None,
) -> Tensor:
    r"""MiniLM: the last layers' attention and value relation (Wang 2020, equations 6 to 10).

    .. math:: L = L_\mathrm{AT} + w L_\mathrm{VR}, \quad
        \mathbf A = \mathrm{softmax}\Big(\frac{Q K^\top}{\sqrt{d_k}}\Big), \quad
        \mathbf{VR} = \mathrm{softmax}\Big(\frac{V V^\top}{\sqrt{d_k}}\Big)

    with both terms as in :func:`relation_divergence`, and w = 1 in the paper. The student may have
    any depth and width, since a relation is always (tokens, tokens).

    Args:
        student_heads, teacher_heads: queries, keys and values of the last layer, each (batch,
            heads, tokens, d_k). Both networks have the same number of heads; d_k may differ.
        value_weight: w; 0 uses only the attention.
        present: (batch, tokens), False for padding; all if None.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for wrong shapes, or a negative weight.

    >>> one, other = [torch.zeros(1, 2, 3, 4)] * 3, [torch.ones(1, 2, 3, 8)] * 3
    >>> deep_self_attention(one, other).round(decimals=4)  # both are uniform
    tensor(0.)
    """
    check_lists(count=3, student_heads=student_heads, teacher_heads=teacher_heads)
    check_number(least=0, value_weight=value_weight)
    _check_three(student_heads=student_heads, teacher_heads=teacher_heads)
    (q, k, v), (tq, tk, tv) = student_heads, teacher_heads
    loss = relation_divergence(attention_scores(q, k), attention_scores(tq, tk), present)
    values = relation_divergence(attention_scores(v, v), attention_scores(tv, tv), present)
    return loss + value_weight * values


def multi_head_relations(
    student_heads: Sequence[Tensor],
    teacher_heads: Sequence[Tensor],
    relation_heads: int,
    present: Tensor | None = None,
) -> Tensor:
    r"""MiniLMv2 (Wang 2021): relations of queries, keys and values, for any number of heads.

    .. math:: L = \sum_{X \in \{Q, K, V\}} L_X, \quad
        \mathbf R_{X,a} = \mathrm{softmax}\Big(\frac{X_a X_a^\top}{\sqrt{d_r}}\Big)

    where :math:`X_a` is the a-th of `relation_heads` parts of the concatenated heads. The networks'
    numbers of heads may differ.

    Args:
        student_heads, teacher_heads: queries, keys and values, each (batch, heads, tokens, d_k).
        relation_heads: a divisor of both widths (heads times d_k).
        present: (batch, tokens), False for padding; all if None.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for wrong shapes, or a width that `relation_heads` does not divide.

    Departures: concatenation and splitting, the three relations, their scale and the divergence
    agree with a public implementation (Bloomberg 2022). There, following the paper's equation 5,
    each relation has a weight, such as a third; here each has weight 1.

    >>> one, other = [torch.zeros(1, 2, 3, 4)] * 3, [torch.ones(1, 4, 3, 8)] * 3
    >>> multi_head_relations(one, other, 8).round(decimals=4)
    tensor(0.)
    """
    check_lists(count=3, student_heads=student_heads, teacher_heads=teacher_heads)
    check_number(least=1, whole=True, relation_heads=relation_heads)
    _check_three(student_heads=student_heads, teacher_heads=teacher_heads)
    total = None
    for student, teacher in zip(student_heads, teacher_heads, strict=True):
        ours, theirs = (_split_again(one, relation_heads) for one in (student, teacher))
        loss = relation_divergence(
            attention_scores(ours, ours), attention_scores(theirs, theirs), present
        )
        total = loss if total is None else total + loss
    return total


def _check_three(**heads: Sequence[Tensor]) -> None:
    """Require queries, keys and values of equal shape within each network, and the same tokens."""
    check_heads(
        **{f"{who}[{n}]": one for who, three in heads.items() for n, one in enumerate(three)}
    )
    for who, three in heads.items():
        if len({one.shape for one in three}) > 1:
            raise ValueError(
                f"{who} must be queries, keys and values of one shape; got "
                f"{', '.join(str(tuple(one.shape)) for one in three)}."
            )


def _split_again(heads: Tensor, count: int) -> Tensor:
    """Split (batch, heads, tokens, d_k) into another number of heads."""
    joined = heads.transpose(1, 2).flatten(2)
    if joined.shape[2] % count:
        raise ValueError(
            f"relation_heads {count} must divide the width {joined.shape[2]} of student and teacher."
        )
    return joined.unflatten(2, (count, -1)).transpose(1, 2)
