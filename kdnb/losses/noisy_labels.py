"""Distillation for noisy labels (Li et al. 2017): mix labels with a clean teacher's answers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import cross_entropy_of
from kdnb.losses.checks import (
    at_least_float32,
    check_labels,
    check_logits,
    check_number,
    check_temperature,
)


def mixed_labels(
    labels: Tensor, clean_logits: Tensor, label_share: float, temperature: float | Tensor = 1.0
) -> Tensor:
    r"""Pseudo-labels (Li 2017), as probabilities (batch, classes).

    .. math:: \hat y = \lambda y + (1 - \lambda)\, s, \qquad s = \mathrm{softmax}(v / T)

    with the logits v of a network trained on a small clean set.

    Args:
        labels: (batch,) integers, some of them wrong.
        clean_logits: (batch, classes).
        label_share: lambda in [0, 1].
        temperature: T > 0.

    >>> mixed_labels(torch.tensor([0]), torch.tensor([[0.0, 0.0]]), 0.5)
    tensor([[0.7500, 0.2500]])
    """
    check_logits(classes=2, clean_logits=clean_logits)
    check_labels(clean_logits, labels)
    check_number(least=0, most=1, label_share=label_share)
    check_temperature(temperature, len(clean_logits))
    soft = (at_least_float32(clean_logits) / temperature).softmax(1)
    hard = F.one_hot(labels.long(), clean_logits.shape[1]).to(soft.dtype)
    return label_share * hard + (1 - label_share) * soft


def noisy_label_distillation(
    logits: Tensor,
    labels: Tensor,
    clean_logits: Tensor,
    label_share: float,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    r"""The cross-entropy of a student with pseudo-labels (Li 2017).

    .. math:: L = \frac1B \sum_b H(\hat y_b, \mathrm{softmax}(z_b))

    Being linear in the targets, it equals :math:`\lambda` times the cross-entropy with the labels
    plus :math:`1-\lambda` times that with the teacher.

    Args:
        logits: (batch, classes) of the student.
        labels, clean_logits, label_share, temperature: as in `mixed_labels`.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for wrong shapes, wrong labels, a share outside [0, 1], or a temperature that is
            not above 0.

    Departures: recalled from summaries of the paper; there the soft labels are also smoothed along
    a graph of related classes, which is left out.

    >>> noisy_label_distillation(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 2), 0.5)
    tensor(0.6931)
    """
    check_logits(classes=2, logits=logits, clean_logits=clean_logits)
    targets = mixed_labels(labels, clean_logits, label_share, temperature)
    return cross_entropy_of(targets, at_least_float32(logits)).mean()


def best_label_share(label_risk: float, teacher_risk: float) -> float:
    r"""The share of the labels that minimises the squared error of pseudo-labels (Li 2017).

    .. math:: \lambda^* = \frac{R_s}{R_s + R_y}

    with the mean squared distances :math:`R_y` of the labels and :math:`R_s` of the teacher's
    answers from the truth, when both errors are uncorrelated: :math:`\hat y` then has the risk
    :math:`\lambda^2 R_y + (1-\lambda)^2 R_s`, whose minimum, :math:`R_y R_s / (R_y + R_s)`, is
    below both.

    Args:
        label_risk, teacher_risk: at least 0, not both 0.

    >>> best_label_share(0.3, 0.1)
    0.25
    """
    check_number(least=0, label_risk=label_risk, teacher_risk=teacher_risk)
    if label_risk + teacher_risk == 0:
        raise ValueError("label_risk and teacher_risk must not both be 0.")
    return teacher_risk / (label_risk + teacher_risk)
