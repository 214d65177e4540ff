"""LwF (Li and Hoiem 2016): learn a new task and keep the answers for the old one."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import softened_cross_entropy, two_classes
from kdnb.losses.checks import at_least_float32, check_logits, check_temperature


def learning_without_forgetting(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor = 2.0
) -> Tensor:
    r"""LwF's loss (Li and Hoiem 2016) on an old task's output while a new task is learnt.

    .. math:: L = -\frac1B \sum_b \sum_k p'_{bk} \log q'_{bk}, \quad
        p'_{bk} = \frac{p_{bk}^{1/T}}{\sum_j p_{bj}^{1/T}}, \quad
        q'_{bk} = \frac{q_{bk}^{1/T}}{\sum_j q_{bj}^{1/T}}

    with the old network's probabilities p and the new network's q on the old task's classes, both
    on images of the new task. Renormalised powers of a softmax are the softmax of logits divided by
    T. The loss is added to the new task's cross-entropy, with a weight of 1 in most of the paper's
    experiments. For several old tasks, sum the losses.

    Args:
        student_logits: (batch, classes of the old task), of the learning network. A single column z
            is a binary task and stands for the logits [z, 0].
        teacher_logits: the same shape, recorded from the previous network. Gradients flow into it
            too unless it is detached.
        temperature: T > 0; 2 in the paper. One number, or a tensor (batch, 1) of one per sample.

    Returns:
        A scalar in nats: `soft_targets` divided by T², plus the mean entropy of p'. Its minimum, at
        q' = p', is that entropy.

    Raises:
        ValueError: for wrong shapes, an empty batch, or a temperature that is not above 0.

    Departures: the authors' code was read; the paper's equations are recalled. The code has no
    factor T², so the gradient falls as 1/T. It sums over the images of a batch; here their mean is
    taken.

    >>> learning_without_forgetting(torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor(1.1269)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_temperature(temperature, len(student_logits))
    student, teacher = (
        two_classes(at_least_float32(logits)) for logits in (student_logits, teacher_logits)
    )
    return softened_cross_entropy(teacher / temperature, student / temperature).mean()
