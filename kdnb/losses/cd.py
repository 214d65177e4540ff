"""CD: channel distillation (Zhou et al. 2020), with channel-wise attention as knowledge."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import divergence
from kdnb.losses.checks import (
    at_least_float32,
    check_channels,
    check_labels,
    check_logits,
    check_maps,
    check_number,
    check_temperature,
)


def channel_distillation(student_maps: Tensor, teacher_maps: Tensor) -> Tensor:
    r"""Channel distillation (Zhou 2020): each channel's mean activation is its attention.

    .. math:: L = \frac{1}{B c} \sum_b \sum_{j=1}^c (w^S_{bj} - w^T_{bj})^2, \quad
        w_{bj} = \frac{1}{h w} \sum_{u,v} F_{bj}(u, v)

    for one pair of layers; the caller sums over pairs.

    Args:
        student_maps, teacher_maps: (batch, channels, height, width) with the same number of
            channels. If the networks differ, map the student's by a 1 x 1 convolution with batch
            normalisation first. Heights and widths may differ.

    Returns:
        A scalar in squared units of the maps.

    Raises:
        ValueError: for wrong shapes, or other numbers of channels.

    Departures: none; follows the authors' code.

    >>> import torch
    >>> channel_distillation(torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 5, 5))
    tensor(1.)
    """
    check_maps("B", student_maps=student_maps, teacher_maps=teacher_maps)
    check_channels(student_maps=student_maps, teacher_maps=teacher_maps)
    student, teacher = (at_least_float32(one).mean((2, 3)) for one in (student_maps, teacher_maps))
    return (student - teacher).square().mean()


def guided_targets(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float = 4.0
) -> Tensor:
    r"""Guided knowledge distillation (Zhou 2020): soft targets only where the teacher is right.

    .. math:: L = \frac{T^2}{\max(1, |R|)} \sum_{b \in R}
        \mathrm{KL}(p(v_b, T) \,\|\, p(z_b, T)), \quad R = \{b : \arg\max v_b = y_b\}

    Args:
        student_logits, teacher_logits: (batch, classes).
        labels: (batch,) integers.
        temperature: T.

    Returns:
        A scalar in nats. It is 0 if the teacher is wrong about every sample of the batch, where the
        authors' code divides by 0.

    Raises:
        ValueError: for wrong shapes, labels out of range, or a temperature that is not above 0.

    >>> import torch
    >>> z, v = torch.zeros(2, 2), torch.tensor([[9.0, 0.0], [9.0, 0.0]])
    >>> guided_targets(z, v, torch.tensor([1, 1]))
    tensor(0.)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_labels(student_logits, labels)
    check_temperature(temperature, len(student_logits))
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    right = (teacher.argmax(1) == labels).to(student.dtype)
    each = divergence(teacher, student, temperature)
    if isinstance(temperature, Tensor):
        temperature = temperature.flatten()
    return (temperature**2 * each * right).sum() / right.sum().clamp_min(1)


def early_decay(epoch: int, every: int = 30, factor: float = 0.9) -> float:
    """The weight of both terms in an epoch, multiplied by `factor` every `every` epochs.

    (Zhou 2020, "early decay teacher": late in training the labels count more.)

    >>> early_decay(0), early_decay(60)
    (1.0, 0.81)
    """
    check_number(least=0, whole=True, epoch=epoch)
    check_number(least=1, whole=True, every=every)
    check_number(above=0, most=1, factor=factor)
    return float(factor) ** (int(epoch) // int(every))
