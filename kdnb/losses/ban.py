"""Born-again networks (Furlanello et al. 2018): CWTM, DKPP, and the two parts of the gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import at_least_float32, check_labels, check_logits
from kdnb.losses.cross_entropy import hard_loss
from kdnb.losses.kd import soft_targets


def confidence_weighted(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    r"""CWTM (Furlanello 2018): cross-entropy weighted by the teacher's confidence in each sample.

    .. math:: L = -\sum_b \frac{\max_k p_{bk}}{\sum_u \max_k p_{uk}} \log q_b(y_b)

    This is the approximation of equation 9 (section 3.1) that uses the teacher's largest output in
    place of its output for the label. It contains no dark knowledge: the teacher only decides how
    much each sample counts, even where it is wrong.

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
    """DKPP's targets (Furlanello 2018): keep each row's largest logit and permute the others.

    Args:
        teacher_logits: (batch, classes).
        generator: for the permutations, one per row; torch's global generator if None.

    Returns:
        Logits (batch, classes), float32 or wider, without gradient. Each row holds the same numbers
        as before, with the largest in its place.

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
    # Drawn on the generator's device, so that a CPU generator works for logits on any device.
    device = generator.device if generator else logits.device
    order = torch.rand(logits.shape, generator=generator, device=device).to(logits.device)
    # The largest logit's key sorts first on both sides, so it keeps its place; the others move.
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
    2018, section 3.1, equations 5 to 8). For a teacher that is right with confidence p_*, the first
    part is p_* (q_* - 1) + (1 - p_*) q_*: the label's gradient, (q_* - 1), weighted by p_*, plus a
    rest that vanishes as p_* goes to 1. CWTM isolates this importance weighting.

    Args:
        student_logits, teacher_logits: (batch, classes).
        labels: (batch,) integers.

    Returns:
        The label part and the dark knowledge part, each (batch, classes). Their sum is the gradient
        of :func:`kdnb.losses.soft_targets` at temperature 1.

    Raises:
        ValueError: for wrong shapes or an empty batch.

    Departures: the paper sums the partial derivatives over the classes, which gives 0 because q and
    p both sum to 1. Here the gradient vector itself is split. The equations' numbers are recalled.
    """
    check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    check_labels(student_logits, labels)
    q = at_least_float32(student_logits.detach()).softmax(1)
    p = at_least_float32(teacher_logits.detach()).softmax(1)
    gradient = (q - p) / len(q)
    at_label = F.one_hot(labels.long(), q.shape[1]).bool()
    return gradient * at_label, gradient * ~at_label


def gradient_identity() -> tuple[float, float]:
    """The largest |dL/dz - (label part + dark part)| in 64 random float64 cases, and a tolerance.

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
