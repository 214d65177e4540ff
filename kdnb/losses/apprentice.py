"""Apprentice (Mishra and Marr 2018): the joint loss of a teacher and a low-precision student."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import cross_entropy_of
from kdnb.losses.checks import at_least_float32, check_labels, check_logits, check_number
from kdnb.losses.cross_entropy import hard_loss


def apprenticeship(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    teacher_weight: float = 1.0,
    label_weight: float = 0.5,
    imitation_weight: float = 0.5,
) -> Tensor:
    r"""The loss of teacher and apprentice (Mishra and Marr 2018, equation 1).

    .. math:: L = \alpha\, H(y, p^T) + \beta\, H(y, p^A) + \gamma\, H(p^T, p^A)

    with the probabilities :math:`p^T = \mathrm{softmax}(v)` of the teacher and
    :math:`p^A = \mathrm{softmax}(z)` of the apprentice, without a temperature. If both are trained
    together (scheme A), all three terms matter; for a frozen teacher the first is constant.

    Args:
        student_logits: (batch, classes), z of the apprentice.
        teacher_logits: (batch, classes), v. The third term holds its target constant, so its
            gradient reaches only the apprentice. The first term trains the teacher.
        labels: (batch,) integers below the number of classes.
        teacher_weight, label_weight, imitation_weight: alpha, beta and gamma, at least 0.

    Returns:
        A scalar in nats, averaged over the batch. The sum of the last two terms is smallest where
        the apprentice's answer is the mixture of label and teacher in proportion beta to gamma.

    Raises:
        ValueError: for wrong shapes, labels beyond the classes, or a weight below 0.

    Recalled: the equation and the weights 1, 0.5 and 0.5; that the third term is a cross-entropy of
    the two softmaxes is our reading of "H(z^T, p^A)", and so is the constant target.

    >>> z = torch.zeros(1, 2)
    >>> apprenticeship(z, z, torch.tensor([0]))
    tensor(1.3863)
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    check_labels(student_logits, labels)
    check_number(
        least=0,
        teacher_weight=teacher_weight,
        label_weight=label_weight,
        imitation_weight=imitation_weight,
    )
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    target = teacher.detach().softmax(1)
    return (
        teacher_weight * hard_loss(teacher, labels)
        + label_weight * hard_loss(student, labels)
        + imitation_weight * cross_entropy_of(target, student).mean()
    )
