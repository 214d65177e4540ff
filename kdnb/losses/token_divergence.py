"""Next-token divergences: word-level KD (Kim and Rush 2016) and GKD (Agarwal et al. 2024)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from kdnb.losses._arithmetic import EXCLUDED, divergence, nan_from
from kdnb.losses.checks import (
    at_least_float32,
    check_alike,
    check_choice,
    check_number,
    check_present,
)

Divergence = Literal["forward", "reverse", "jensen_shannon"]


def token_divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    present: Tensor | None = None,
    kind: Divergence = "forward",
    teacher_share: float = 0.5,
) -> Tensor:
    r"""The divergence of next-token distributions along given sequences.

    .. math:: L = \frac1B \sum_b \frac{1}{|y_b|} \sum_t D\big(p(\cdot \mid y_{<t}, x) \,\|\,
        q(\cdot \mid y_{<t}, x)\big)

    with the teacher's p and the student's q, and D the forward divergence KL(p ‖ q), the reverse
    one KL(q ‖ p), or the generalised Jensen-Shannon divergence of GKD,
    :math:`\beta\, \mathrm{KL}(p \| m) + (1 - \beta)\, \mathrm{KL}(q \| m)` with
    :math:`m = \beta p + (1 - \beta) q`. On the sequences of a data set, "forward" is word-level
    distillation up to the teacher's entropy, a constant (Kim and Rush 2016). On sequences sampled
    from the student it is on-policy distillation (Agarwal et al. 2024); no gradient flows through
    the sampling.

    Args:
        student_logits, teacher_logits: (batch, tokens, vocabulary), of the next token after each
            prefix.
        present: (batch, tokens) booleans, False where the next token is padding or part of the
            prompt; all tokens count if None.
        kind: "forward", "reverse" or "jensen_shannon".
        teacher_share: beta, strictly between 0 and 1, for "jensen_shannon".

    Returns:
        A scalar in nats per token: the mean over a sequence's present tokens, then over sequences.

    Raises:
        ValueError: for wrong shapes, a sequence without a present token, an unknown kind, or a
            share that is not between 0 and 1.

    Departures: the equations are recalled; the direction of the mixture follows public trainers.
    Some of these take the limits at beta = 0 and 1, where the formula itself is 0: use "forward"
    and "reverse".

    >>> student, teacher = torch.zeros(1, 1, 2), torch.tensor([[[2.0, 0.0]]])
    >>> token_divergence(student, teacher), token_divergence(student, teacher, kind="reverse")
    (tensor(0.3278), tensor(0.4338))
    """
    each = token_divergences(student_logits, teacher_logits, kind, teacher_share)
    if present is None:
        return each.mean()
    check_present(present, *each.shape, student_logits=student_logits)
    weights = present.to(each.dtype) / present.sum(1, keepdim=True)
    # NaN in padding, which the mask would hide, is an error as well.
    value = (each.masked_fill(~present, 0) * weights).sum(1).mean()
    return nan_from(value, student_logits, teacher_logits)


def token_divergences(
    student_logits: Tensor,
    teacher_logits: Tensor,
    kind: Divergence = "forward",
    teacher_share: float = 0.5,
) -> Tensor:
    """The divergence of :func:`token_divergence` at every position: (batch, tokens), in nats.

    Raises:
        ValueError: as `token_divergence`.

    >>> token_divergences(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)).abs()
    tensor([[0., 0.]])
    """
    check_choice(("forward", "reverse", "jensen_shannon"), kind=kind)
    check_number(above=0, most=1, teacher_share=teacher_share)
    if teacher_share == 1:
        raise ValueError("teacher_share must lie between 0 and 1; got 1, where the loss is 0.")
    check_alike(
        "batch, tokens, vocabulary", student_logits=student_logits, teacher_logits=teacher_logits
    )
    student, teacher = (
        at_least_float32(one).flatten(0, 1) for one in (student_logits, teacher_logits)
    )
    if kind == "forward":
        rows = divergence(teacher, student)
    elif kind == "reverse":
        rows = divergence(student, teacher)
    else:
        # logaddexp has no gradient at two minus infinities.
        log_p, log_q = (
            log.masked_fill(torch.isneginf(log), EXCLUDED)
            for log in (teacher.log_softmax(1), student.log_softmax(1))
        )
        log_m = torch.logaddexp(log_p + math.log(teacher_share), log_q + math.log1p(-teacher_share))
        rows = teacher_share * divergence(log_p, log_m)
        rows = rows + (1 - teacher_share) * divergence(log_q, log_m)
    return rows.view(student_logits.shape[:2])
