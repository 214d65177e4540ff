"""ListMLE (Xia et al. 2008): the likelihood of the teacher's order under the student's scores."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import log_order, nan_from
from kdnb.losses.checks import at_least_float32, check_rankings


def listmle(student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
    r"""ListMLE (Xia, Liu, Wang, Zhang and Li 2008): the negative log-likelihood of an order.

    .. math:: L = -\frac1B \sum_b \sum_{i=1}^{n} \log
        \frac{e^{s_{b,\pi(i)}}}{\sum_{k=i}^{n} e^{s_{b,\pi(k)}}}

    where pi sorts the items by descending teacher score, and s are the student's scores. Items are
    drawn one after another, each by a softmax over those that remain (the Plackett-Luce model).

    Args:
        student_scores: (lists, items), at least 2 items.
        teacher_scores: the same shape. Only their order counts, and no gradient flows into them;
            ties go to the earlier item.

    Returns:
        A scalar in nats, above 0, averaged over lists. It approaches 0 as the student's scores
        follow the teacher's order with growing gaps. Adding a constant to all scores of a list
        changes nothing.

    Raises:
        ValueError: for wrong or mismatched shapes, or fewer than 2 items.

    Departures: several public implementations were read; some of them also take the mean over the
    items. The paper is recalled.

    >>> listmle(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[1.0, 3.0, 2.0]]))
    tensor(1.7918)
    """
    check_rankings(student_scores=student_scores, teacher_scores=teacher_scores)
    order = teacher_scores.argsort(dim=1, descending=True, stable=True)
    scores = at_least_float32(student_scores).gather(1, order)
    return nan_from(-log_order(scores).mean(), teacher_scores)
