"""AE-KD (Du et al. 2020): weights of several teachers that balance their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses._arithmetic import divergence, in_double, rows
from kdnb.losses.checks import (
    at_least_float32,
    check_flags,
    check_lists,
    check_logits,
    check_number,
    check_samples,
    check_temperature,
    check_values,
)

STEPS = 10_000  # of the solver, each exact in two weights
SMALL = 1e-13  # tolerance between two slopes, relative to the largest squared length


def min_norm_weights(gradients: Tensor, largest: float = 1.0, normalise: bool = False) -> Tensor:
    r"""The weights of the shortest convex combination of several gradients (Du 2020).

    .. math:: \min_\alpha \tfrac12 \Big\lVert \sum_k \alpha_k g_k \Big\rVert^2
        \quad\text{where}\quad \sum_k \alpha_k = 1,\; 0 \le \alpha_k \le C

    A step against this combination lowers every loss, unless no loss can fall without another
    rising (the point is Pareto stationary). With the bound C the problem is the dual of a one-class
    support vector machine with the Gram matrix of the gradients as its kernel and nu = 1 / (K C),
    which is how Du et al. 2020 solve it. Here, as in the training of such machines, weight is moved
    between the two gradients whose slopes differ most, exactly for this pair, until no move helps.

    Args:
        gradients: (K, ...), one in each row; flattened.
        largest: C, above 0 and at most 1. At or below 1/K the weights are all 1/K.
        normalise: compare only the directions of the gradients, and divide the weights by the
            gradients' lengths afterwards; C bounds the weights before this division.

    Returns:
        (K,), in float32 or wider, at least 0, with sum 1 and no gradient. If there are several
        solutions, the one reached from equal weights.

    Raises:
        ValueError: for no gradients, or a bound out of range.

    >>> min_norm_weights(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    tensor([0.1000, 0.9000])
    >>> min_norm_weights(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), largest=0.6)
    tensor([0.4000, 0.6000])
    """
    check_samples(minimum=1, gradients=gradients)
    check_values(gradients=gradients)
    check_number(above=0, most=1, largest=largest)
    check_flags(normalise=normalise)
    flat = in_double(rows(gradients.detach()))
    flat = flat / flat.abs().amax().clamp_min(torch.finfo(torch.float32).tiny)
    lengths = torch.linalg.vector_norm(flat, dim=1).clamp_min(1e-12)
    if normalise:
        flat = flat / lengths[:, None]
    gram = (flat @ flat.T).cpu()
    kind = torch.promote_types(gradients.dtype, torch.float32)
    if not bool(gram.isfinite().all()):
        return torch.full((len(gram),), torch.nan, dtype=kind, device=gradients.device)
    shortest = _shortest(gram.tolist(), max(float(largest), 1 / len(gram)))
    found = torch.tensor(shortest, dtype=torch.float64)
    if normalise:
        found = found / lengths.cpu()
    return (found / found.sum()).to(gradients.device, kind)


def _shortest(gram: list[list[float]], bound: float) -> list[float]:
    count = len(gram)
    weights = [1 / count] * count
    size = max(gram[k][k] for k in range(count))
    slopes = [sum(row) / count for row in gram]
    for _ in range(STEPS):
        up = min((k for k in range(count) if weights[k] < bound), key=slopes.__getitem__, default=0)
        down = max((k for k in range(count) if weights[k] > 0), key=slopes.__getitem__)
        gap = slopes[down] - slopes[up]
        if gap <= SMALL * size:
            break
        curvature = gram[up][up] + gram[down][down] - 2 * gram[up][down]
        room = min(bound - weights[up], weights[down])
        step = room if gap >= curvature * room else gap / curvature
        weights[up] = bound if step == bound - weights[up] else weights[up] + step
        weights[down] = 0.0 if step == weights[down] else weights[down] - step
        slopes = [s + step * (row[up] - row[down]) for s, row in zip(slopes, gram, strict=True)]
    total = sum(weights)
    return [weight / total for weight in weights]


def adaptive_weights(
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    temperature: float = 4.0,
    largest: float = 0.6,
    normalise: bool = False,
) -> Tensor:
    r"""The weight of each teacher for a batch, from the gradients of its loss (Du 2020).

    :func:`min_norm_weights` of :math:`g_k = \frac1B \sum_b \partial D_{kb} / \partial z_b`, where D
    is the divergence of the student from teacher k and z are the student's logits: K gradients,
    each with one number per class.

    Args:
        student_logits: (batch, classes).
        teacher_logits: K tensors of the same shape.
        temperature: T > 0 of both.
        largest: the bound C of a weight, 0.6 in the authors' code.
        normalise: compare only the directions of the gradients, and divide the weights by the
            gradients' lengths afterwards. A teacher that the student already imitates then gets a
            large weight. An option of the authors' code, off by default.

    Returns:
        (K,), sum 1, without a gradient.

    Raises:
        ValueError: for no teacher, mismatched shapes, or a wrong temperature or bound.

    Departures: the authors' code was read (`helper/optimization.py`, `helper/loops.py`); the
    paper's text was not available.

    >>> z = torch.zeros(1, 2)
    >>> adaptive_weights(z, [torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 4.0]])])
    tensor([0.5000, 0.5000])
    """
    student, teachers = _checked(student_logits, teacher_logits, temperature)
    ours = (student.detach() / temperature).softmax(1)
    softened = [(teacher.detach() / temperature).softmax(1) for teacher in teachers]
    gradients = torch.stack([(ours - theirs).mean(0) for theirs in softened])
    return min_norm_weights(gradients, largest, normalise)


def adaptive_ensemble(
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    temperature: float = 4.0,
    largest: float = 0.6,
    normalise: bool = False,
) -> Tensor:
    r"""AE-KD (Du et al. 2020): :math:`L = T^2 \sum_k \alpha_k \mathrm{KL}(p_k \| q)`.

    Args:
        student_logits, teacher_logits, temperature, largest, normalise: as in
            :func:`adaptive_weights`, which gives alpha. No gradient flows through alpha.

    Returns:
        A scalar in nats, at least 0.

    Raises:
        ValueError: as `adaptive_weights`.

    Departures: those of `adaptive_weights`. With equal weights the gradient is that of the mean
    teacher (:func:`ensemble_log_probabilities`).

    >>> adaptive_ensemble(torch.zeros(1, 2), [torch.zeros(1, 2)])
    tensor(0.)
    """
    student, teachers = _checked(student_logits, teacher_logits, temperature)
    weights = adaptive_weights(student, teachers, temperature, largest, normalise)
    each = torch.stack([divergence(teacher, student, temperature).mean() for teacher in teachers])
    return temperature**2 * (weights.to(each.dtype) * each).sum()


def _checked(
    student: Tensor, teachers: Sequence[Tensor], temperature: float
) -> tuple[Tensor, list[Tensor]]:
    check_lists(teacher_logits=teachers)
    named = {f"teacher_logits[{i}]": value for i, value in enumerate(teachers)}
    check_logits(2, student_logits=student, **named)
    check_temperature(temperature)
    return at_least_float32(student), [at_least_float32(teacher) for teacher in teachers]
