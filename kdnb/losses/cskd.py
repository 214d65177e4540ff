"""CS-KD (Yun et al. 2020): similar answers for two images of the same class."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import check_logits
from kdnb.losses.kd import soft_targets


def class_wise(logits: Tensor, partner_logits: Tensor, temperature: float = 4.0) -> Tensor:
    r"""CS-KD's loss (Yun 2020): match the answer to another image of the same class.

    .. math:: L_{cls} = T^2\, \mathrm{KL}(q_T(x') \| q_T(x))

    (Yun 2020, equations 1 and 2). No gradient flows into the partner's answer.

    Args:
        logits: (batch, classes), of the images x.
        partner_logits: (batch, classes), of images x' of the same classes.
        temperature: T; 4 in the paper.

    Returns:
        A scalar in nats, averaged over the batch.

    Raises:
        ValueError: for wrong shapes, an empty batch, or a temperature not above 0.
    """
    check_logits(logits=logits, partner_logits=partner_logits)
    return soft_targets(logits, partner_logits.detach(), temperature)
