"""Born-again networks (Furlanello et al. 2018): the controls CWTM and DKPP, and the gradient's two parts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import at_least_float32, check_labels, check_logits
from kdnb.losses.cross_entropy import hard_loss
from kdnb.losses.kd import soft_targets


def confidence_weighted(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    r"""CWTM: the labels' cross-entropy, each sample weighted by its teacher's largest probability.

    .. math:: L = -\sum_b \frac{\max_k p_{bk}}{\sum_u \max_k p_{uk}} \log q_b(y_b)

    (Furlanello 2018, section 3.1, the approximation of equation 9 in which the teacher's largest
    output stands for the one on the label). No dark knowledge is left in it: the teacher only says
    which samples count, also where it is wrong.

    Args:
        student_logits, teacher_logits: (batch, classes). No gradient flows into the teacher's.
        labels: (batch,) integers.

    Returns:
        A scalar in nats; plain cross-entropy when the teacher is equally sure of every sample.

    Raises:
        ValueError: for wrong shapes or an empty batch.

    Departures: the equation's number is recalled.

    >>> z, v = torch.zeros(2, 2), torch.tensor([[9.0, 0.0], [0.0, 0.0]])
    >>> confidence_weighted(z, v, torch.tensor([0, 1]))
    tensor(0.6931)
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_labels(student_logits, labels)
    weights = at_least_float32(teacher_logits.detach()).softmax(1).amax(1)
    each = F.cross_entropy(at_least_float32(student_logits), labels.long(), reduction="none")
    return (weights / weights.sum() * each).sum()


def permuted_predictions(
    teacher_logits: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """DKPP's targets: each row keeps its largest logit; the others are permuted at random.

    Args:
        teacher_logits: (batch, classes).
        generator: of the permutations, one for each row; torch's global one when None.

    Returns:
        Logits (batch, classes), float32 or wider, without gradient: the same numbers in every row,
        the largest where it was.

    Raises:
        ValueError: for a wrong shape.

    >>> row = permuted_predictions(torch.tensor([[1.0, 5.0, 2.0, 3.0]]))
    >>> row[0, 1].item(), sorted(row[0].tolist())
    (5.0, [1.0, 2.0, 3.0, 5.0])
    """
    check_logits(teacher_logits=teacher_logits)
    if not (generator is None or isinstance(generator, torch.Generator)):
        got = type(generator).__name__
        raise ValueError(f"generator must be a torch.Generator or None; got a {got}.")
    logits = at_least_float32(teacher_logits.detach())
    winner = logits.argmax(1, keepdim=True)
    # Drawn where the generator lives, so that a CPU generator serves logits of any device.
    device = generator.device if generator else logits.device
    order = torch.rand(logits.shape, generator=generator, device=device).to(logits.device)
    # The winner's key sorts first on both sides: it is sent to itself, the others anywhere.
    source = order.scatter(1, winner, -1.0).argsort(1)
    target = torch.arange(logits.shape[1], device=logits.device).expand_as(logits).clone()
    target = target.double().scatter(1, winner, -1.0).argsort(1)
    return torch.empty_like(logits).scatter(1, target, logits.gather(1, source))


def gradient_decomposition(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    r"""The distillation gradient in two parts: at the true class, and the dark knowledge.

    .. math:: \frac{\partial L}{\partial z_{bk}} = \frac{q_{bk} - p_{bk}}{B}
        = \frac{1}{B} \Big( [k = y_b] (q_{bk} - p_{bk}) + [k \ne y_b] (q_{bk} - p_{bk}) \Big)

    for the cross-entropy L of the student's q with the teacher's p at temperature 1 (Furlanello
    2018, section 3.1, equations 5 to 8). With a teacher that is right with confidence p_*, the
    first part is p_* (q_* - 1) + (1 - p_*) q_*: the gradient of the label, (q_* - 1), weighted by
    p_*, and a rest that vanishes as p_* goes to 1. That is the importance weighting which CWTM
    isolates.

    Args:
        student_logits, teacher_logits: (batch, classes).
        labels: (batch,) integers.

    Returns:
        The label's part and the dark knowledge's part, (batch, classes) each; their sum is the
        gradient of :func:`kdnb.losses.soft_targets` at temperature 1.

    Raises:
        ValueError: for wrong shapes or an empty batch.

    Departures: the paper sums the partial derivatives over the classes, which gives 0 as q and p
    both sum to 1; the split is one of the gradient's vector. The equations' numbers are recalled.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_labels(student_logits, labels)
    q = at_least_float32(student_logits.detach()).softmax(1)
    p = at_least_float32(teacher_logits.detach()).softmax(1)
    gradient = (q - p) / len(q)
    at_label = F.one_hot(labels.long(), q.shape[1]).bool()
    return gradient * at_label, gradient * ~at_label


def gradient_identity() -> tuple[float, float]:
    """Largest |dL/dz - (label part + dark part)| over 64 random cases in float64, and its tolerance.

    The label part is checked in its importance-weighted form as well.
    """
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        3 * torch.randn(64, 10, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    labels = torch.randint(0, 10, (64,), generator=generator)
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(soft_targets(student, teacher, 1.0), student)
    label, dark = gradient_decomposition(student, teacher, labels)
    (of_labels,) = torch.autograd.grad(hard_loss(student, labels), student)
    at = (torch.arange(64), labels)
    p, q = teacher.softmax(1)[at], student.detach().softmax(1)[at]
    weighted = p * of_labels[at] + (1 - p) * q / 64
    worst = max(
        float((gradient - label - dark).abs().max()), float((label[at] - weighted).abs().max())
    )
    return worst, 1e-12
