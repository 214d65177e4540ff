"""DarkRank (Chen et al. 2018): transfer the teacher's ranking of similar samples."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
from torch import Tensor

from kdnb.losses._arithmetic import (
    identity,
    in_double,
    log_order,
    nan_from,
    root,
    rows,
    squared_distances,
    unit,
)
from kdnb.losses.checks import (
    at_least_float32,
    check_choice,
    check_flags,
    check_number,
    check_samples,
)


def darkrank(
    student: Tensor,
    teacher: Tensor,
    form: Literal["soft", "hard"] = "soft",
    scale: float = 3.0,
    power: float = 3.0,
    list_length: int = 4,
    normalise: bool = False,
) -> Tensor:
    r"""DarkRank (Chen, Wang and Zhang 2018): match the teacher's ranking around each sample.

    .. math:: P(\pi \mid q) = \prod_{i=1}^{n} \frac{e^{s(\pi_i)}}{\sum_{k \ge i} e^{s(\pi_k)}},
        \quad s(x) = -\alpha \lVert q - x \rVert_2^\beta

    Each sample in turn is the query q; its list holds the n samples nearest to it in the teacher's
    space. The soft form is the divergence KL(P_T || P_S) over all n! orders of the list. The hard
    form is -log P_S of the teacher's own order. The result is the mean over queries.

    Args:
        student, teacher: (batch, ...); flattened.
        form: "soft" (ListNet) or "hard" (ListMLE).
        scale, power: alpha and beta of the score, above 0.
        list_length: n, from 1 to batch - 1; at most 6 for the soft form.
        normalise: make every sample a unit vector first, as the paper does. The paper's scale and
            power assume this: for raw features with distances far above 1 the scores are so large
            that each order is certain and the gradient is as large as the scores.

    Returns:
        A scalar in nats. The soft form is 0 when student and teacher agree; the hard form is never
        0.

    Raises:
        ValueError: for different batch sizes, an empty tensor, or wrong options.

    Departures: scores, lists and both forms were read in code (TuSimple/DarkRank, by the authors,
    and lenscloth/RKD, whose scale, power and length are the defaults). The authors' score is (scale
    · squared distance) to their power, for normalised embeddings; in our terms, the scale is raised
    to their power and the power is doubled. They use half of the batch as queries, and their soft
    form is the cross-entropy, which has the same gradient as this divergence. In the hard form, the
    list is the whole batch in the first code, and has `list_length` items in the second, as here.
    Scores are computed in float64 if the device supports it, because third powers of distances lose
    too many digits in float32.

    >>> line = torch.tensor([[0.0], [1.0], [3.0]])
    >>> darkrank(line, line, "hard", scale=1.0, power=1.0, list_length=2)
    tensor(0.2512)
    """
    check_samples(student=student, teacher=teacher)
    check_flags(normalise=normalise)
    check_number(above=0, scale=scale, power=power)
    check_choice(("soft", "hard"), form=form)
    check_number(whole=True, list_length=list_length)
    longest = min(len(student) - 1, 6 if form == "soft" else len(student))
    if not 1 <= list_length <= longest:
        raise ValueError(
            f"list_length must lie in 1..{longest} for {form} lists in a batch of {len(student)}; "
            f"got {list_length}."
        )
    squares = [
        squared_distances(unit(wide) if normalise else wide)
        for wide in (in_double(rows(samples)) for samples in (student, teacher))
    ]
    distances = squares[1].masked_fill(identity(teacher), math.inf)
    order = distances.argsort(dim=1, stable=True)[:, :list_length]
    scores = [-scale * root(square.gather(1, order)) ** power for square in squares]
    # If scores overflow, every order is still certain, not NaN.
    scores = [score.clamp_min(torch.finfo(score.dtype).min / 1e10) for score in scores]
    precision = at_least_float32(student).dtype
    if form == "hard":
        return nan_from(-log_order(scores[0]).mean(), teacher).to(precision)
    orders = torch.tensor(list(itertools.permutations(range(list_length))), device=student.device)
    log_q, log_p = (log_order(score[:, orders]) for score in scores)
    loss = (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
    return nan_from(loss, teacher).to(precision)
