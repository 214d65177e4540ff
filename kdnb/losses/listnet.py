"""ListNet (Cao et al. 2007): the distribution over which item of a list comes first."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import softened_cross_entropy
from kdnb.losses.checks import at_least_float32, check_rankings


def listnet(student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
    r"""The top-one loss of ListNet (Cao, Qin, Liu, Tsai and Li 2007).

    .. math:: L = -\frac1B \sum_b \sum_j P_{t_b}(j) \log P_{s_b}(j), \quad
        P_x(j) = \frac{e^{x_j}}{\sum_k e^{x_k}}

    P is the probability that item j comes first when orders are drawn by the scores x (the
    Plackett-Luce model). Here the teacher's scores take the place of the relevance grades.

    Args:
        student_scores: (lists, items), at least 2 items.
        teacher_scores: the same shape; minus infinity leaves an item out. Gradients flow into it
            too unless it is detached.

    Returns:
        A scalar in nats, averaged over lists. Its least value is the entropy of the teacher's
        distribution. Adding a constant to all scores of a list changes nothing.

    Raises:
        ValueError: for wrong or mismatched shapes, or fewer than 2 items.

    Departures: several public implementations were read; the paper is recalled. In the paper, P(j)
    may use any increasing function instead of the exponential, and the sum over lists is not
    divided by their number.

    >>> listnet(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]]))
    tensor(1.0986)
    """
    check_rankings(student_scores=student_scores, teacher_scores=teacher_scores)
    student, teacher = at_least_float32(student_scores), at_least_float32(teacher_scores)
    return softened_cross_entropy(teacher, student).mean()
