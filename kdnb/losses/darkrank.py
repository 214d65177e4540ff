"""DarkRank: the teacher's ranking of similar samples (Chen et al. 2018)."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
from torch import Tensor

from kdnb.losses._geometry import (
    check_positive,
    check_samples,
    identity,
    root,
    rows,
    squared_distances,
)


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
