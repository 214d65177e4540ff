"""Sequence-level distillation (Wong and Gales 2016): hypotheses instead of frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import EXCLUDED, divergence, nan_from
from kdnb.losses.checks import (
    at_least_float32,
    check_alike,
    check_flags,
    check_frames,
    check_lengths,
    check_number,
    check_together,
)


def sequence_distillation(
    student_scores: Tensor, teacher_scores: Tensor, normalise: bool = True
) -> Tensor:
    r"""Sequence distillation (Wong 2016): the divergence between posteriors of hypotheses.

    .. math:: L = \frac1B \sum_b \sum_H P_T(H \mid O_b) \log \frac{P_T(H \mid O_b)}{P_S(H \mid O_b)}

    The sum runs over a list of hypotheses H: those that the teacher finds likely, or all. The
    teacher's posterior is the softmax of its scores over the list. With the student normalised over
    the same list, the gradient in its scores is :math:`P_S(H) - P_T(H)`.

    Args:
        student_scores, teacher_scores: (batch, hypotheses), log-probabilities; a constant for each
            row does not matter where both are normalised. A missing hypothesis (in a shorter list)
            has minus infinity as the teacher's score. Gradients flow into the teacher's scores too
            unless they are detached.
        normalise: if True, the student's posterior is a softmax over the list as well, as in a
            lattice. If False, `student_scores` are log-probabilities among all sequences, as CTC
            gives them (:func:`ctc_log_probability`); the student is then also pushed away from
            sequences outside the list.

    Returns:
        A scalar in nats, at least 0 if the student's probabilities of the list sum to at most 1.

    Raises:
        ValueError: for wrong shapes.

    Departures: the paper sums over a lattice of state sequences by the forward-backward algorithm;
    here the hypotheses are listed. The paper uses the cross-entropy, which has the same gradient.
    Its text was not available.

    >>> teacher = torch.tensor([[0.5, 0.5]]).log()
    >>> sequence_distillation(torch.tensor([[2.0, 0.0]]), teacher)
    tensor(0.4338)
    >>> sequence_distillation(torch.tensor([[0.25, 0.25]]).log(), teacher, normalise=False)
    tensor(0.6931)
    """
    check_alike("batch, hypotheses", student_scores=student_scores, teacher_scores=teacher_scores)
    check_flags(normalise=normalise)
    student, teacher = at_least_float32(student_scores), at_least_float32(teacher_scores)
    if normalise:
        return divergence(teacher, student).mean()
    absent = torch.isneginf(teacher)
    weights = teacher.masked_fill(absent, EXCLUDED).log_softmax(1)
    gaps = weights - student.masked_fill(absent, 0)
    return nan_from((weights.exp() * gaps).sum(1).mean(), student, teacher)


def ctc_log_probability(
    logits: Tensor, lengths: Tensor, hypotheses: Tensor, blank: int = 0
) -> Tensor:
    r"""The log-probability of token sequences by connectionist temporal classification.

    .. math:: \log P(H \mid O) = \log \sum_{\pi:\, \mathcal{B}(\pi) = H} \prod_n q_{n \pi_n}

    where :math:`\mathcal{B}` merges equal neighbours of a path and then removes the blanks (Graves
    et al. 2006, equation 3). Its negative is the CTC loss of H.

    Args:
        logits: (batch, frames, classes), the blank among the classes.
        lengths: (batch,) integers, the frames that count.
        hypotheses: (batch, hypotheses, tokens) integers, padded at the end by -1. A hypothesis of
            only -1 is the empty sequence.
        blank: the class that stands for no token.

    Returns:
        (batch, hypotheses) in nats. A sequence that needs more frames than there are gets minus
        infinity, without gradient.

    Raises:
        ValueError: for wrong shapes, a token that is the blank or not a class, or lengths below 1
            or above the number of frames.

    >>> logits = torch.tensor([[[0.0, 0.0], [0.0, 0.0]]])  # two frames, a blank and one token
    >>> found = ctc_log_probability(logits, torch.tensor([2]), torch.tensor([[[-1, -1], [1, -1]]]))
    >>> found.exp()
    tensor([[0.2500, 0.7500]])
    """
    check_frames(logits=logits)
    check_lengths(lengths, logits)
    check_number(least=0, most=logits.shape[2] - 1, whole=True, blank=blank)
    check_hypotheses(hypotheses, logits, blank)
    batch, count, tokens = hypotheses.shape
    wide = at_least_float32(logits)
    # All hypotheses form the batch of one call; each sees the frames of its own sequence.
    frames = wide.log_softmax(2).transpose(0, 1).repeat_interleave(count, 1)
    sizes = (hypotheses >= 0).sum(2).flatten()
    targets = hypotheses.reshape(batch * count, tokens).clamp_min(0).long()
    targets = targets.masked_fill(hypotheses.reshape(batch * count, tokens) < 0, 1 - min(blank, 1))
    input_sizes = lengths.long().repeat_interleave(count)
    each = F.ctc_loss(frames, targets, input_sizes, sizes, blank, "none", zero_infinity=False)
    impossible = torch.isposinf(each)
    if bool(impossible.any()):
        finite = F.ctc_loss(frames, targets, input_sizes, sizes, blank, "none", zero_infinity=True)
        each = torch.where(impossible, torch.inf, finite)
    return nan_from(-each, logits).reshape(batch, count)


def check_hypotheses(hypotheses: Tensor, logits: Tensor, blank: int) -> None:
    """Require integers (batch, hypotheses, tokens): classes other than the blank, then -1.

    Raises:
        ValueError: naming the invalid input.
    """
    kinds = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    right = isinstance(hypotheses, Tensor) and hypotheses.dtype in kinds and hypotheses.ndim == 3
    if not right or 0 in hypotheses.shape or len(hypotheses) != len(logits):
        got = type(hypotheses).__name__
        if isinstance(hypotheses, Tensor):
            got = f"{hypotheses.dtype} {tuple(hypotheses.shape)}"
        raise ValueError(
            "hypotheses must be integers of shape (batch, hypotheses, tokens), padded behind by -1, "
            f"for {len(logits)} sequences; got {got}."
        )
    check_together(logits=logits, hypotheses=hypotheses)
    there = hypotheses >= 0
    if bool(((hypotheses < -1) | (hypotheses >= logits.shape[2]) | (hypotheses == blank)).any()):
        raise ValueError(
            f"hypotheses must hold classes below {logits.shape[2]}, without the blank {blank}, or -1; "
            f"got {int(hypotheses.min())} to {int(hypotheses.max())}."
        )
    if bool((there[..., 1:] & ~there[..., :-1]).any()):
        raise ValueError("hypotheses must be padded behind; got a token behind a -1.")
