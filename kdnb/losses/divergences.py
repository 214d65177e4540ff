"""Other divergences of softened outputs: the reverse KL and the Jensen-Shannon divergence.

KD's divergence is averaged over the teacher's probabilities: the student is penalised for each
class that the teacher considers possible and the student does not. The reverse divergence is
averaged over the student's: the student is penalised for each class that it considers possible and
the teacher does not. The Jensen-Shannon divergence lies between the two.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdnb.losses._arithmetic import EXCLUDED, divergence, in_double, two_classes
from kdnb.losses.checks import at_least_float32, check_logits, check_number, check_temperature


def reverse_kl(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 1.0
) -> Tensor:
    r"""The reverse divergence KL(student ‖ teacher) of the softened outputs.

    .. math:: L = \frac{T^2}{B} \sum_b \sum_k q_{bk} \log \frac{q_{bk}}{p_{bk}},
        \quad p = \mathrm{softmax}(v / T),\; q = \mathrm{softmax}(z / T)

    with the teacher's logits v and the student's z: `soft_targets` with the two exchanged. MiniLLM
    (Gu et al. 2024, ICLR) and GKD (Agarwal et al. 2024, ICLR) distil language models by it.

    Args:
        student_logits: (batch, classes). A single column z is that of a binary task: it stands
            for the logits [z, 0].
        teacher_logits: (batch, classes). Gradients flow into it too unless it is detached.
        temperature: T > 0; one number, or a tensor (batch, 1), one per sample. As in
            `soft_targets`, the factor T² keeps the size of the gradient when T changes.

    Returns:
        A scalar in nats, at least 0; 0 exactly when the two softmaxes are equal. It is infinite
        where the teacher excludes a class by a logit of minus infinity that the student does not.

    Raises:
        ValueError: for wrong shapes, an empty batch, or a temperature that is not above 0.

    Departures: the definition in the papers is recalled. They sample token sequences from the
    student, so their gradient needs a term for the sampling; here the sum over classes is exact.

    >>> reverse_kl(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor(0.3278)
    """
    log_p, log_q, dtype = _softened(student_logits, teacher_logits, temperature)
    return _averaged(divergence(log_q, log_p), temperature, dtype)


def jensen_shannon(
    student_logits: Tensor,
    teacher_logits: Tensor,
    teacher_share: float = 0.5,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    r"""The generalised Jensen-Shannon divergence of the softened outputs.

    .. math:: L = \frac{T^2}{B} \sum_b \beta\, \mathrm{KL}(p_b \| m_b)
        + (1 - \beta)\, \mathrm{KL}(q_b \| m_b), \quad m_b = \beta p_b + (1 - \beta) q_b

    with the softened outputs p of the teacher and q of the student (Agarwal et al. 2024, ICLR,
    "GKD"). At beta = 1/2 it is symmetric. Divided by beta, it tends to KD's divergence as beta
    falls to 0; divided by 1 - beta, it tends to `reverse_kl` as beta rises to 1. Near either end,
    choose the weight accordingly.

    Args:
        student_logits: (batch, classes). A single column z is that of a binary task: it stands
            for the logits [z, 0].
        teacher_logits: (batch, classes). Gradients flow into it too unless it is detached.
        teacher_share: beta, strictly between 0 and 1; at either end the divergence would be 0 for
            any logits.
        temperature: T > 0; one number, or a tensor (batch, 1) of one for each sample.

    Returns:
        A scalar in nats, from 0 (up to 1e-30), where the two softmaxes are equal, to T² (-beta log
        beta - (1 - beta) log(1 - beta)), even where one of them excludes a class.

    Raises:
        ValueError: for wrong shapes, an empty batch, a share that is not between 0 and 1, or a
            temperature that is not above 0.

    Departures: the paper's definition is recalled; public trainers use the same, but with the
    limits at beta = 0 and 1. The factor T² is ours, as in `soft_targets`.

    >>> jensen_shannon(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor(0.0895)
    """
    check_number(above=0, most=1, teacher_share=teacher_share)
    if teacher_share == 1:
        raise ValueError("teacher_share must lie between 0 and 1; got 1, where the loss is 0.")
    log_p, log_q, dtype = _softened(student_logits, teacher_logits, temperature)
    # logaddexp has no gradient at two minus infinities.
    log_p, log_q = (log.masked_fill(torch.isneginf(log), EXCLUDED) for log in (log_p, log_q))
    log_m = torch.logaddexp(log_p + math.log(teacher_share), log_q + math.log1p(-teacher_share))
    each = teacher_share * divergence(log_p, log_m) + (1 - teacher_share) * divergence(log_q, log_m)
    return _averaged(each, temperature, dtype)


def _softened(
    student: Tensor, teacher: Tensor, temperature: float | Tensor
) -> tuple[Tensor, Tensor, torch.dtype]:
    """log p of the teacher and log q of the student in double precision, and the result's dtype.

    Near a match log p - log q is a small difference of large numbers.
    """
    check_logits(student_logits=student, teacher_logits=teacher)
    check_temperature(temperature, len(student))
    pair = [at_least_float32(teacher), at_least_float32(student)]
    dtype = torch.promote_types(pair[0].dtype, pair[1].dtype)
    log_p, log_q = (
        (in_double(two_classes(logits)) / temperature).log_softmax(1) for logits in pair
    )
    return log_p, log_q, dtype


def _averaged(each: Tensor, temperature: float | Tensor, dtype: torch.dtype) -> Tensor:
    """The batch mean of values (batch,), times T²."""
    return (each.unsqueeze(1) * temperature**2).mean().to(dtype)
