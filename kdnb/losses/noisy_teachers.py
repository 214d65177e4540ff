"""Noisy teachers (Sau and Balasubramanian 2016): one noisy teacher instead of several."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_logits, check_number


def noisy_logits(
    teacher_logits: Tensor,
    sd: float = 0.3,
    share: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Add multiplicative noise to a teacher's logits for some samples (Sau 2016).

    .. math:: v'_{bc} = (1 + a_b \xi_{bc})\, v_{bc}, \quad \xi \sim N(0, \sigma^2),\;
        a_b \sim \mathrm{Bernoulli}(s)

    The mean of v' is v. On average, the squared distance from v' therefore has the same gradient as
    that from v; the noise adds to the gradient's variance, by s sigma² v².

    Args:
        teacher_logits: (batch, classes).
        sd: sigma >= 0, the standard deviation of the relative noise.
        share: s in [0, 1], the share of perturbed samples.
        generator: for the noise; torch's global generator if None.

    Returns:
        The noisy logits, in float32 or wider. Gradients flow into them.

    Raises:
        ValueError: for wrong shapes, a negative sd, a share outside [0, 1], or an invalid
            generator.

    Departures: recalled; the paper's text was not available. Independent noise for every class
    follows a public library; sd and share are ours.
    """
    check_logits(teacher_logits=teacher_logits)
    check_number(least=0, sd=sd)
    check_number(least=0, most=1, share=share)
    if not (generator is None or isinstance(generator, torch.Generator)):
        got = type(generator).__name__
        raise ValueError(f"generator must be a torch.Generator or None; got a {got}.")
    logits = at_least_float32(teacher_logits)
    # Drawn on the generator's device, so that a CPU generator works for logits on any device.
    device = generator.device if generator else logits.device
    noise = torch.randn(logits.shape, generator=generator, device=device).to(logits)
    chosen = torch.rand(len(logits), 1, generator=generator, device=device).to(logits) < share
    return logits * (1 + sd * noise * chosen)
