"""LSKD (Sun et al. 2024, CVPR): standardise each row of logits before comparing them."""

from __future__ import annotations

import math

from torch import Tensor

from kdnb.losses._arithmetic import direction
from kdnb.losses.checks import Variant, at_least_float32, check_logits, check_variant
from kdnb.losses.kd import soft_targets


def standardize_logits(logits: Tensor, variant: Variant = "paper") -> Tensor:
    r"""Scale each row to mean 0 and deviation 1 (Sun et al. 2024, CVPR, algorithm 1).

    .. math:: \mathcal{Z}(z)_k = \frac{z_k - \bar z}{\sigma(z)}, \quad
        \sigma(z)^2 = \frac{1}{K} \sum_k (z_k - \bar z)^2

    Apply this before any loss on logits; the temperature is then a multiple of σ. The result is
    invariant to a shift or a positive scaling of a row. A constant row becomes zeros and gives no
    gradient.

    Args:
        logits: (batch, classes), at least 2 classes.
        variant: "authors" uses the sample standard deviation, with K - 1, and adds 1e-7 to it.

    Returns:
        (batch, classes), within ±sqrt(K - 1).

    Raises:
        ValueError: for wrong shapes, an empty batch, one class, an unknown variant.

    Departures: the paper's σ is the population's (algorithm 1). The authors' code uses
    ``torch.std``, the sample's, which equals the paper at a temperature sqrt(K / (K - 1)) times
    higher.

    >>> standardize_logits(torch.tensor([[7.0, 5.0]])).round()
    tensor([[ 1., -1.]])
    """
    check_logits(2, logits=logits)
    check_variant(variant)
    logits = at_least_float32(logits)
    if variant == "paper":
        return direction(logits, dim=1) * math.sqrt(logits.shape[1])
    centred = logits - logits.mean(1, keepdim=True)
    return centred / (logits.std(1, keepdim=True) + 1e-7)


def standardized_soft_targets(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    variant: Variant = "paper",
) -> Tensor:
    r"""LSKD: Hinton's loss on standardised logits (Sun et al. 2024, CVPR, algorithm 2).

    .. math:: L = \frac{T^2}{B} \sum_b \mathrm{KL}\big(\mathrm{softmax}(\mathcal{Z}(v_b) / T)
        \,\|\, \mathrm{softmax}(\mathcal{Z}(z_b) / T)\big)

    See :func:`standardize_logits` for Z, its variants and errors, and
    :func:`kdnb.losses.soft_targets` for the loss. T is the paper's base temperature.

    >>> logits = torch.tensor([[3.0, 1.0, -1.0]])
    >>> standardized_soft_targets(5 * logits + 1, logits, temperature=2.0).item() < 1e-6
    True
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    student = standardize_logits(student_logits, variant)
    return soft_targets(student, standardize_logits(teacher_logits, variant), temperature)
