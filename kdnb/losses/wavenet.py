"""Probability density distillation (van den Oord et al. 2018, Parallel WaveNet)."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_alike


def density_distillation(log_scales: Tensor, teacher_log_densities: Tensor) -> Tensor:
    r"""KL(student ‖ teacher) for a student that scales and shifts noise (van den Oord 2018).

    .. math:: \mathrm{KL}(P_S \,\|\, P_T) = H(P_S, P_T) - H(P_S), \qquad
        H(P_S) = \mathrm{E} \sum_t \ln s_t + 2N

    The student draws logistic noise :math:`u_t` and outputs :math:`x_t = \mu_t + s_t u_t`, all N
    samples at once. Its entropy is known exactly, since a logistic distribution of scale s has
    entropy ln s + 2. The cross-entropy is the mean negative log-density that the teacher, which
    predicts each sample from those before it, gives to the student's x:
    :math:`-\sum_t \ln p_T(x_t \mid x_{<t})`.

    Args:
        log_scales: (batch, samples), the student's :math:`\ln s_t` for the drawn noise.
        teacher_log_densities: (batch, samples), the teacher's log-density at the student's x, which
            must depend on the student's parameters: its gradient passes through x.

    Returns:
        A scalar in nats: the sum over samples, averaged over the batch. It is an estimate and may
        be below 0.

    Raises:
        ValueError: for mismatched shapes or are not (batch, samples).

    Departures: recalled; the paper's text was not available. Its other losses (power, perceptual,
    contrastive) are left out.

    >>> import torch
    >>> density_distillation(torch.zeros(1, 3), torch.full((1, 3), -2.0))  # both logistic, scale 1
    tensor(0.)
    """
    check_alike(
        "batch, samples", log_scales=log_scales, teacher_log_densities=teacher_log_densities
    )
    entropy = at_least_float32(log_scales) + 2
    return (-at_least_float32(teacher_log_densities) - entropy).sum(1).mean()
