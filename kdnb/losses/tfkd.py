"""Tf-KD (Yuan et al. 2020): a hand-made teacher, and the label smoothing it equals."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_labels,
    check_logits,
    check_number,
    check_temperature,
    check_variant,
)
from kdnb.losses.cross_entropy import hard_loss, label_smoothing
from kdnb.losses.kd import soft_targets


def virtual_teacher(
    labels: Tensor, classes: int, correct: float = 0.99, dtype: torch.dtype = torch.float32
) -> Tensor:
    r"""The virtual teacher (Yuan 2020, equation 9): p(c) = a, p(k) = (1 - a) / (K - 1) elsewhere.

    Args:
        labels: (batch,) integers, the classes c.
        classes: K, at least 2.
        correct: a, in (1 / K, 1), so that the teacher is right about every image. The paper uses at
            least 0.9.

    Returns:
        (batch, classes) of `dtype`, with rows that sum to 1.

    Raises:
        ValueError: for fewer than 2 classes, or a `correct` outside its range.

    >>> virtual_teacher(torch.tensor([1]), classes=3, correct=0.9)
    tensor([[0.0500, 0.9000, 0.0500]])
    """
    check_number(least=2, whole=True, classes=classes)
    check_number(correct=correct)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"dtype must be a floating-point type of torch; got {dtype!r}.")
    rows = len(labels) if isinstance(labels, Tensor) and labels.ndim else 1
    device = labels.device if isinstance(labels, Tensor) else None
    check_labels(torch.zeros((), device=device).expand(rows, classes), labels)
    if not 1 / classes < correct < 1:
        raise ValueError(f"correct must lie between 1 / {classes} and 1; got {correct}.")
    correct = float(correct)
    wrong = (1 - correct) / (classes - 1)
    probabilities = torch.full((len(labels), classes), wrong, dtype=dtype, device=labels.device)
    return probabilities.scatter_(1, labels.long()[:, None], correct)


def teacher_free_regularisation(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 20.0,
    correct: float = 0.99,
    variant: Variant = "paper",
) -> Tensor:
    r"""Tf-KD_reg (Yuan 2020, equations 9 and 10): divergence from the softened virtual teacher.

    .. math:: L = \tau^2\, \frac{1}{B} \sum_b \mathrm{KL}(p^d_\tau \| q_\tau)

    The teacher is softened like any other: its logits are log p^d, so p^d_tau is proportional to
    (p^d)^{1/tau}.

    Args:
        logits: (batch, classes).
        labels: (batch,) integers.
        temperature: tau; 20 and more in the paper.
        correct: a, see `virtual_teacher`.
        variant: "authors" follows the released code: the student is not softened, the teacher is
            softmax(p^d / tau), which treats probabilities as logits, and there is no factor tau².
            At tau = 20, ten classes and a = 0.99, the true class gets 0.1045 (0.135 by the paper's
            rule).

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for wrong shapes, a temperature not above 0, or a `correct` out of range.

    Departures: the factor tau² is ours, as in every loss of this package that softens both sides;
    the paper's formula has none. The released code takes the mean over batch and classes and
    multiplies by 100, which for the 100 classes of its experiments equals "authors" here.

    >>> z, y = torch.zeros(1, 10), torch.tensor([0])
    >>> teacher_free_regularisation(z, y, temperature=1.0)
    tensor(2.2246)
    """
    check_logits(logits=logits)
    check_labels(logits, labels)
    check_temperature(temperature)
    check_variant(variant)
    dtype = at_least_float32(logits).dtype
    probabilities = virtual_teacher(labels, logits.shape[1], correct, dtype)
    if variant == "authors":
        return soft_targets(logits, probabilities / temperature, 1.0)
    return soft_targets(logits, probabilities.log(), temperature)


def softened_correct(
    classes: int, temperature: float, correct: float = 0.99, variant: Variant = "paper"
) -> float:
    """The probability of the true class in the softened virtual teacher.

    >>> round(softened_correct(10, 20.0), 4), round(softened_correct(10, 20.0, variant="authors"), 4)
    (0.135, 0.1045)
    """
    check_variant(variant)
    check_temperature(temperature)
    teacher = virtual_teacher(torch.tensor([0]), classes, correct, torch.float64)
    logits = teacher if variant == "authors" else teacher.log()
    return float((logits / temperature).softmax(1)[0, 0])


def equivalent_smoothing(
    soft_weight: float,
    classes: int,
    temperature: float = 1.0,
    correct: float = 0.99,
    variant: Variant = "authors",
) -> float:
    r"""The label smoothing equal to (1 - w) cross-entropy + w · virtual teacher, up to a constant.

    .. math:: \epsilon = w\, (1 - c) \frac{K}{K - 1}

    with c the probability of the true class in the softened teacher. The two losses then have the
    same gradient everywhere. This is exact if the student is not softened: in the "authors" variant
    at any temperature, in the paper's at temperature 1.

    Args:
        soft_weight: w in [0, 1].
        classes: K.

    Returns:
        epsilon for :func:`kdnb.losses.label_smoothing`.

    Raises:
        ValueError: for the paper's variant at a temperature other than 1, where no such epsilon
            exists.

    >>> round(equivalent_smoothing(0.1, 10, 20.0), 4)
    0.0995
    """
    check_number(least=0, most=1, soft_weight=soft_weight)
    sure = softened_correct(classes, temperature, correct, variant)
    if variant == "paper" and temperature != 1:
        raise ValueError(
            "a softened student follows no label smoothing: the paper's variant equals one at "
            f"temperature 1 alone; got {temperature}."
        )
    return soft_weight * (1 - sure) * classes / (classes - 1)


def virtual_teacher_identity() -> tuple[float, float]:
    """The largest gradient difference of Tf-KD_reg and its label smoothing, and a tolerance.

    Taken over 64 random cases in float64, with weights 0.1 and 0.9, for the released code's variant
    at temperatures 1, 20 and 40 and the paper's at 1.
    """
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(64, 10, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 10, (64,), generator=generator)
    logits.requires_grad_()
    cases = [("authors", 1.0), ("authors", 20.0), ("authors", 40.0), ("paper", 1.0)]
    worst = 0.0
    for variant, temperature in cases:
        for weight in (0.1, 0.9):
            soft = teacher_free_regularisation(logits, labels, temperature, variant=variant)
            loss = (1 - weight) * hard_loss(logits, labels) + weight * soft
            epsilon = equivalent_smoothing(weight, 10, temperature, variant=variant)
            (one,) = torch.autograd.grad(loss, logits)
            (other,) = torch.autograd.grad(label_smoothing(logits, labels, epsilon), logits)
            worst = max(worst, float((one - other).abs().max()))
    return worst, 1e-12
