"""Tan et al. 2019: a teacher's few likeliest words instead of its whole vocabulary."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import at_least_float32, check_logits, check_number


def top_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, kept: int = 8) -> Tensor:
    r"""The cross-entropy with a teacher's K largest probabilities, renormalised (Tan 2019).

    .. math:: L = -\frac1B \sum_b \sum_{k \in \mathrm{top}_K(q_b)}
        \frac{q_{bk}}{\sum_{j \in \mathrm{top}_K(q_b)} q_{bj}} \log p_{bk}

    with the teacher's probabilities q and the student's p over the whole vocabulary. Only K numbers
    and their indices need to be stored for each word of a corpus.

    Args:
        student_logits, teacher_logits: (batch, vocabulary), at least 2 words; for sequences, one
            row per word.
        kept: K, at least 1 and at most the vocabulary; 4 by default in the authors' code.

    Returns:
        A scalar in nats. K = 1 gives the cross-entropy with the teacher's likeliest word; if K is
        the vocabulary size, it is the cross-entropy with the full answer.

    Raises:
        ValueError: for wrong shapes or K out of range.

    Departures: the paper's text was not available. The authors' code
    (RayeRen/multilingual-kd-pytorch, `distill_label_smoothed_cross_entropy_loss.py`) has this loss,
    with both answers softened by a temperature, 0.6 by default, and multiplied by its square; here
    the temperature is 1.

    >>> top_cross_entropy(torch.zeros(1, 4), torch.tensor([[3.0, 2.0, 1.0, 0.0]]), kept=2)
    tensor(1.3863)
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    check_number(least=1, whole=True, most=teacher_logits.shape[1], kept=kept)
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    largest, places = teacher.topk(int(kept), dim=1)
    log_p = F.log_softmax(student, dim=1).gather(1, places)
    value = -(largest.softmax(1) * log_p).sum(1).mean()
    return nan_from(value, student, teacher)
