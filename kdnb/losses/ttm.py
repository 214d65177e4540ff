"""TTM and WTTM (Zheng and Yang 2024, ICLR): a temperature for the teacher alone."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import divergence
from kdnb.losses.checks import at_least_float32, check_flags, check_logits, check_temperature


def transformed_teacher(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    weighted: bool = True,
) -> Tensor:
    r"""WTTM (Zheng and Yang 2024, ICLR, sec. 4): a temperature for the teacher alone.

    .. math:: L = \frac{1}{B} \sum_b U(p_b)\, \mathrm{KL}(p_b^{(T)} \| q_b), \quad
        U(p) = \sum_k p_k^{1/T}

    where p and q are at temperature 1 and p^(T) is softened. The power sum U, from 1 (one-hot) to
    K^(1 - 1/T) (uniform), gives smooth samples more weight. Compared with KD, the unweighted loss
    adds a Rényi entropy of the student (eq. 15): with H_α the Rényi entropy of order α, KL(p^(T) ‖
    q) = T KL(p^(T) ‖ q^(T)) - (T - 1) H_{1/T}(q) + (T - 1) H(p^(T)).

    Args:
        student_logits, teacher_logits: (batch, classes).
        temperature: T > 0; the paper's is above 1.
        weighted: False leaves U out: the paper's TTM (eq. 2).

    Returns:
        A scalar in nats, without a factor T²; 0 where q is the softened p, not where q = p.

    Raises:
        ValueError: for wrong shapes, an empty batch, or a temperature that is not above 0.

    Departures: none (paper and authors' code read).

    >>> transformed_teacher(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), temperature=2.0)
    tensor(0.1424)
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    check_temperature(temperature, len(student_logits))
    check_flags(weighted=weighted)
    powers = at_least_float32(teacher_logits).log_softmax(1) / temperature
    loss = divergence(powers, at_least_float32(student_logits))
    return (loss * powers.logsumexp(1).exp() if weighted else loss).mean()
