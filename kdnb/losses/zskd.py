"""ZSKD (Nayak et al. 2019): match an impression to targets drawn from a Dirichlet."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import at_least_float32, check_logits, check_temperature


def matching_cross_entropy(
    teacher_logits: Tensor, targets: Tensor, temperature: float = 20.0
) -> Tensor:
    r"""A data impression's loss (Nayak 2019): cross-entropy with the teacher's softened answer.

    .. math:: \bar x = \arg\min_x L_{CE}\big(y,\, T(x, \theta_T, \tau)\big)

    (equation 3).

    Args:
        teacher_logits: (batch, classes), at least 2 classes.
        targets: (batch, classes), rows that sum to 1.
        temperature: tau > 0.

    Returns:
        A scalar in nats, at least the mean entropy of the targets.

    Raises:
        ValueError: for wrong or mismatched shapes, an empty batch, or a temperature not above 0.

    >>> matching_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    tensor(0.6931)
    """
    check_logits(2, teacher_logits=teacher_logits, targets=targets)
    check_temperature(temperature)
    log_p = F.log_softmax(at_least_float32(teacher_logits) / temperature, dim=1)
    return -(targets * log_p).sum(1).mean()
