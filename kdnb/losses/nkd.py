"""NKD (Yang et al. 2023, ICCV): normalised knowledge distillation."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import split_target
from kdnb.losses.checks import (
    at_least_float32,
    check_labels,
    check_logits,
    check_number,
    check_temperature,
)


def normalized_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float | Tensor = 1.0,
    other_weight: float = 1.5,
) -> Tensor:
    r"""NKD (Yang 2023, ICCV): soft cross-entropy on the target, a normalised one on the rest.

    .. math:: L = -\frac{1}{B} \sum_b p_y \log q_y
        + w T^2 \sum_{k \ne y} \hat p_k^{(T)} \log \hat q_k^{(T)}

    p_y and q_y are at temperature 1; hats are as in :func:`decoupled_terms`, and so are arguments
    and errors. The defaults (T = 1, weight 1.5) are those of the authors' code.

    Returns:
        A scalar in nats. Neither it nor its gradient is 0 at a perfect match: the target's term
        always pulls q_y towards 1, as the label does.

    Departures: none (equation from notes on the paper, equal to the authors' code line by line).
    The paper's full loss adds the cross-entropy with the labels, with weight 1.

    >>> normalized_kd(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([0]))
    tensor(1.4059)
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    check_labels(student_logits, labels)
    check_temperature(temperature, len(student_logits))
    check_number(other_weight=other_weight)
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    log_q, log_p = (
        split_target(student.log_softmax(1), labels),
        split_target(teacher.log_softmax(1), labels),
    )
    target = log_p[0].exp() * log_q[0]  # the rest is computed without the logits:
    rest_q = (log_q[1] / temperature).log_softmax(1)  # log q and z differ by a constant per row
    rest_p = (log_p[1] / temperature).log_softmax(1)
    rest = (rest_p.exp() * rest_q).sum(1, keepdim=True)
    return -(target.unsqueeze(1) + other_weight * temperature**2 * rest).mean()
