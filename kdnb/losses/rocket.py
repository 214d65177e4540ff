"""Rocket launching (Zhou et al. 2018): the hint between the light net and its booster."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_flags, check_logits


def rocket_hint(light: Tensor, booster: Tensor, gradient_block: bool = True) -> Tensor:
    r"""The hint loss of the logits: :math:`\frac1B \sum_b \lVert l(x_b) - z(x_b) \rVert_2^2`.

    Args:
        light, booster: (batch, classes).
        gradient_block: let no gradient of this loss flow into the booster.

    Returns:
        A scalar in squared units of the logits.

    Raises:
        ValueError: for wrong or mismatched shapes, or an empty batch.

    >>> rocket_hint(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 1.0]]))
    tensor(5.)
    """
    check_logits(light=light, booster=booster)
    check_flags(gradient_block=gradient_block)
    booster = booster.detach() if gradient_block else booster
    return (at_least_float32(light) - at_least_float32(booster)).square().sum(1).mean()
