"""Generalised distillation (Lopez-Paz et al. 2016): a teacher with privileged inputs."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import softened_cross_entropy
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_labels,
    check_logits,
    check_number,
    check_temperature,
    check_variant,
)
from kdnb.losses.cross_entropy import hard_loss


def generalised_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    teacher_share: float = 0.5,
    temperature: float | Tensor = 1.0,
    variant: Variant = "paper",
) -> Tensor:
    r"""Generalised distillation (Lopez-Paz 2016, equations 4 and 5): imitate a privileged teacher.

    .. math:: L = \frac1B \sum_b (1 - \lambda)\, H(y_b, q_b) + \lambda\, H(s_b, q_b), \quad
        s_b = \mathrm{softmax}(v_b / T),\; q_b = \mathrm{softmax}(z_b)

    with the cross-entropy H, the labels y, the teacher's logits v on its own inputs, such as a
    report about the image, and the student's logits z. The student is not softened: for T above 1
    it learns to be as uncertain as the softened teacher. If both have the same input, this is
    Hinton's distillation; if the teacher's input is richer, it is Vapnik's learning with privileged
    information.

    Args:
        student_logits: (batch, classes), at least 2 classes.
        teacher_logits: the same shape. Gradients flow into it too unless it is detached.
        labels: (batch,) integers.
        teacher_share: lambda in [0, 1], the paper's imitation parameter.
        temperature: T > 0; one number, or a tensor (batch, 1) of one per sample.
        variant: "authors" multiplies the teacher's term by T², as their code does.

    Returns:
        A scalar in nats. Its minimum is not 0 but the entropy of the mixed targets.

    Raises:
        ValueError: for wrong shapes, an empty batch, a share outside [0, 1], or a temperature that
            is not above 0.

    Departures: none; the paper's source and its code were read. The paper chooses lambda and T by a
    search on held-out data.

    >>> z, v, y = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> generalised_distillation(z, v, y)
    tensor(0.6931)
    """
    check_logits(classes=2, student_logits=student_logits, teacher_logits=teacher_logits)
    check_labels(student_logits, labels)
    check_number(least=0, most=1, teacher_share=teacher_share)
    check_temperature(temperature, len(student_logits))
    check_variant(variant)
    teacher, student = at_least_float32(teacher_logits), at_least_float32(student_logits)
    soft = softened_cross_entropy(teacher / temperature, student).unsqueeze(1)
    if variant == "authors":
        soft = soft * temperature**2
    hard = hard_loss(student, labels)
    return (1 - teacher_share) * hard + teacher_share * soft.mean()
