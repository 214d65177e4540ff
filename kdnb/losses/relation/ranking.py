"""Relations between samples as orders (section 2.3): who is nearer, and in which rank.

Every loss takes batches (batch, ...), flattens each sample, and works in float32 at least
whatever the autocast mode. Triplets are rows of indices into the batch; :func:`all_triplets`
makes every one.
Gradients flow into the teacher too unless it is detached.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdnb.losses.relation._geometry import (
    check_positive,
    check_samples,
    identity,
    ratio,
    root,
    rows,
    squared_distances,
)


def all_triplets(batch: int, device: torch.device | str | None = None) -> Tensor:
    """Every (query, one, other) of distinct samples with one < other.

    Args:
        batch: how many samples, at least 3.
        device: where the indices live.

    Returns:
        Integers of shape (batch (batch - 1) (batch - 2) / 2, 3).

    Raises:
        ValueError: for fewer than 3 samples.

    >>> all_triplets(3).tolist()
    [[0, 1, 2], [1, 0, 2], [2, 0, 1]]
    """
    if batch < 3:
        raise ValueError(f"a triplet needs at least 3 samples in the batch; got {batch}.")
    query, one, other = torch.meshgrid([torch.arange(batch, device=device)] * 3, indexing="ij")
    kept = (query != one) & (query != other) & (one < other)
    return torch.stack([query[kept], one[kept], other[kept]], dim=1)


def triplet_distillation(
    student: Tensor,
    teacher: Tensor,
    triplets: Tensor,
    least_margin: float = 0.2,
    greatest_margin: float = 0.5,
) -> Tensor:
    r"""The triplet loss with the teacher's distances as its margin (Feng 2019).

    .. math:: L = \frac1N \sum_i \max\big(D_S(a_i, p_i) - D_S(a_i, n_i) + F(d_i), 0\big), \quad
        F(d) = \frac{m_{\max} - m_{\min}}{d_{\max}} d + m_{\min}, \quad
        d_i = \max\big(D_T(a_i, n_i) - D_T(a_i, p_i), 0\big)

    with squared Euclidean distances D and the largest d of the triplets given.

    Args:
        student, teacher: (batch, ...); flattened, not normalised here (face embeddings are).
        triplets: (triplets, 3) indices: anchor, positive of its class, negative of another.
        least_margin: m_min >= 0 in squared units of the student's features.
        greatest_margin: m_max >= m_min, the margin where the teacher is surest.

    Returns:
        A scalar in squared units of the student's features. Not 0 at student = teacher.

    Raises:
        ValueError: for different batch sizes, anything empty, wrong triplets or margins.

    Departures: the form of the equations was read in a public summary; squared distances and
    the margins 0.2 and 0.5 are recalled. Where no d is above 0 every margin is m_min.

    >>> student = teacher = torch.tensor([[0.0], [0.5], [1.0]])
    >>> triplet_distillation(student, teacher, torch.tensor([[0, 1, 2], [1, 0, 2]]))
    tensor(0.1000)
    """
    check_samples(student=student, teacher=teacher)
    _check_triplets(triplets, len(student))
    if not 0 <= least_margin <= greatest_margin < math.inf:
        raise ValueError(
            "margins must satisfy 0 <= least_margin <= greatest_margin; "
            f"got {least_margin} and {greatest_margin}."
        )
    anchor, positive, negative = triplets.unbind(dim=1)
    squares = squared_distances(rows(teacher))
    near, far = squares[anchor, positive], squares[anchor, negative]
    surer = (far - near).clamp_min(0)
    margin = ratio(surer, surer.max()) * (greatest_margin - least_margin) + least_margin
    squares = squared_distances(rows(student))
    near, far = squares[anchor, positive], squares[anchor, negative]
    return (near - far + margin).clamp_min(0).mean()


def relative_dissimilarity(
    student: Tensor,
    teachers: Sequence[Tensor],
    triplets: Tensor | None = None,
    margin: float = 0.0,
) -> Tensor:
    r"""The order of two distances, voted on by several teachers (You 2017).

    .. math:: L = \frac1N \sum_{(q, a, b)} \max\big(0,\; D_S(q, q^+) - D_S(q, q^-) + m\big)

    Each teacher votes for the one of a and b nearer to q; the majority makes it q+ and the other
    q-. A triplet without majority adds 0.

    Args:
        student: (batch, ...), at least 3 samples; flattened. The paper takes a middle layer.
        teachers: one or more (batch, ...), each of its own width.
        triplets: (triplets, 3) indices: query, one, other; by default every one of the batch.
        margin: m >= 0 in units of the student's features.

    Returns:
        A scalar in units of the student's features. With margin 0 it is 0 when the student
        orders all triplets as the majority does.

    Raises:
        ValueError: for no teacher, different batch sizes, anything empty, wrong triplets or
            margin.

    Departures: recalled, not read: Euclidean distances, the vote's handling of ties, the mean
    over triplets and the margin are this book's reading.

    >>> student, teacher = torch.tensor([[0.0], [2.0], [1.0]]), torch.tensor([[0.0], [1.0], [3.0]])
    >>> relative_dissimilarity(student, [teacher], torch.tensor([[0, 1, 2]]), margin=0.5)
    tensor(1.5000)
    """
    if not teachers:
        raise ValueError("teachers must hold at least one batch of features; got none.")
    for index, teacher in enumerate(teachers):
        check_samples(minimum=3, student=student, **{f"teachers[{index}]": teacher})
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin must be a finite number, at least 0; got {margin}.")
    if triplets is None:
        triplets = all_triplets(len(student), student.device)
    _check_triplets(triplets, len(student))
    query, one, other = triplets.unbind(dim=1)
    votes = 0
    for teacher in teachers:
        squares = squared_distances(rows(teacher))
        votes = votes + torch.sign(squares[query, other] - squares[query, one])
    nearer = torch.sign(votes)
    distances = root(squared_distances(rows(student)))
    losses = (nearer * (distances[query, one] - distances[query, other]) + margin).clamp_min(0)
    return (losses * (nearer != 0)).mean()


def darkrank(
    student: Tensor,
    teacher: Tensor,
    form: Literal["soft", "hard"] = "soft",
    scale: float = 3.0,
    power: float = 3.0,
    list_length: int = 4,
) -> Tensor:
    r"""The teacher's ranking of the batch around each sample (Chen, Wang and Zhang 2018).

    .. math:: P(\pi \mid q) = \prod_{i=1}^{n} \frac{e^{s(\pi_i)}}{\sum_{k \ge i} e^{s(\pi_k)}},
        \quad s(x) = -\alpha \lVert q - x \rVert_2^\beta

    Each sample in turn is the query q; its list is the n samples nearest to it in the teacher's
    space. Soft: the divergence KL(P_T || P_S) over all n! orders of the list. Hard: -log P_S of
    the teacher's own order. The mean over queries.

    Args:
        student, teacher: (batch, ...); flattened, not normalised here (the paper's are).
        form: "soft" (ListNet) or "hard" (ListMLE).
        scale, power: alpha and beta of the score, above 0.
        list_length: n, from 1 to batch - 1; at most 6 for the soft form.

    Returns:
        A scalar in nats. The soft form is 0 when student and teacher agree; the hard one never.

    Raises:
        ValueError: for different batch sizes, anything empty, or wrong options.

    Departures: scores, lists and both forms were read in code (TuSimple/DarkRank, by the
    authors, and lenscloth/RKD, whose scale, power and length are the defaults). The authors'
    score is (scale · squared distance) to their power, of normalised embeddings: here that is a
    scale to their power, and twice the power. Their queries are half of the batch and their soft value is the cross-entropy, which has the
    gradient of this divergence. The hard form's list there is the whole batch in the first, and
    `list_length` in the second, as here.

    >>> line = torch.tensor([[0.0], [1.0], [3.0]])
    >>> darkrank(line, line, "hard", scale=1.0, power=1.0, list_length=2)
    tensor(0.2512)
    """
    check_samples(student=student, teacher=teacher)
    check_positive(scale=scale, power=power)
    if form not in ("soft", "hard"):
        raise ValueError(f'form must be "soft" or "hard"; got {form!r}.')
    longest = min(len(student) - 1, 6 if form == "soft" else len(student))
    if not 1 <= list_length <= longest:
        raise ValueError(
            f"list_length must lie in 1..{longest} for {form} lists in a batch of {len(student)}; "
            f"got {list_length}."
        )
    distances = squared_distances(rows(teacher)).masked_fill(identity(teacher), math.inf)
    order = distances.argsort(dim=1, stable=True)[:, :list_length]
    scores = [
        -scale * root(squared_distances(rows(samples)).gather(1, order)) ** power
        for samples in (student, teacher)
    ]
    if form == "hard":
        return -_log_order(scores[0]).mean()
    orders = torch.tensor(list(itertools.permutations(range(list_length))), device=student.device)
    log_q, log_p = (_log_order(score[:, orders]) for score in scores)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()


def _log_order(scores: Tensor) -> Tensor:
    """The log-probability of the order in which the scores of the last dimension stand."""
    rest = scores.flip(-1).logcumsumexp(dim=-1).flip(-1)
    return (scores - rest).sum(dim=-1)


def _check_triplets(triplets: Tensor, batch: int) -> None:
    if triplets.ndim != 2 or triplets.shape[1] != 3 or len(triplets) == 0:
        raise ValueError(f"triplets must have shape (triplets, 3); got {tuple(triplets.shape)}.")
    if triplets.is_floating_point() or not 0 <= int(triplets.min()) <= int(triplets.max()) < batch:
        raise ValueError(f"triplets must be integers from 0 to {batch - 1}, the batch's indices.")
