"""Global distillation (Lee et al. 2019): join two networks that know different classes."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import divergence
from kdnb.losses.checks import at_least_float32, check_logits, check_temperature, check_together


def joined_probabilities(
    old_logits: Tensor, current_logits: Tensor, temperature: float | Tensor = 1.0
) -> Tensor:
    r"""Join a distribution over old classes and one over new classes (Lee 2019).

    With the old network's p over l classes, the current teacher's c over the other r - l, and
    :math:`e = \max_k p_k` at the class k*:

    .. math:: q_{k^*} = e, \qquad q_k = \frac{l - 1}{r - 1}\, p_k \;(k \ne k^* \text{ old}), \qquad
        q_k = \frac{r - l}{r - 1}\,(1 - e)\, c_k \;(k \text{ new})

    The probability that the old network leaves to classes other than its first choice is shared so
    that each of the r - 1 other classes gets the same amount on average.

    Args:
        old_logits: (batch, l); with l = 1 the network knows one class and p = 1.
        current_logits: (batch, r - l).
        temperature: temperature of both softmaxes.

    Returns:
        (batch, r) in float32 or wider, old classes first; each row sums to 1. Gradients flow into
        both unless they are detached.

    Raises:
        ValueError: for wrong shapes, mismatched batch sizes, or a temperature that is not above 0.

    Departures: read in the authors' code (kibok90/iccv2019-inc), in which only this one of three
    branches ever runs; the paper's equation is recalled.

    >>> joined_probabilities(torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2))
    tensor([[0.8808, 0.0397, 0.0397, 0.0397]])
    """
    check_logits(old_logits=old_logits)
    check_logits(current_logits=current_logits)
    check_together(old_logits=old_logits, current_logits=current_logits)
    if len(old_logits) != len(current_logits):
        raise ValueError(
            f"old_logits and current_logits must have one batch size; got {tuple(old_logits.shape)} "
            f"and {tuple(current_logits.shape)}."
        )
    check_temperature(temperature, len(old_logits))
    p = (at_least_float32(old_logits) / temperature).softmax(1)
    c = (at_least_float32(current_logits) / temperature).softmax(1)
    known, others = p.shape[1], p.shape[1] + c.shape[1] - 1
    first = p.argmax(1, keepdim=True)
    left = (p * ~_marked(first, p)).sum(1, keepdim=True)  # 1 - e, exact where e is nearly 1
    old = torch.where(_marked(first, p), p, (known - 1) / others * p)
    return torch.cat([old, c.shape[1] / others * left * c], 1)


def _marked(column: Tensor, like: Tensor) -> Tensor:
    """True at one column of each row."""
    return torch.zeros_like(like, dtype=torch.bool).scatter(1, column, True)


def joined_distillation(
    student_logits: Tensor,
    old_logits: Tensor,
    current_logits: Tensor,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    r"""The student's divergence from `joined_probabilities`, for images of any class or none.

    .. math:: L_Q = \frac{T^2}{B} \sum_b \mathrm{KL}\big(q_b \,\|\, \mathrm{softmax}(z_b / T)\big)

    Args:
        student_logits: (batch, r), old classes first.
        old_logits, current_logits: (batch, l) and (batch, r - l), see `joined_probabilities`.
        temperature: 1 in the authors' code; one number, or (batch, 1).

    Returns:
        A scalar in nats, at least 0.

    Raises:
        ValueError: as `joined_probabilities`, or if the student has a wrong number of classes.

    >>> joined_distillation(torch.zeros(1, 4), torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2))
    tensor(0.8900)
    """
    _check_all(student_logits, old_logits, current_logits)
    q = joined_probabilities(old_logits, current_logits, temperature)
    q = q.clamp_min(torch.finfo(q.dtype).tiny)  # so that the logarithm has a gradient everywhere
    each = divergence(q.log(), at_least_float32(student_logits) / temperature).unsqueeze(1)
    return (each * temperature**2).mean()


def separate_distillation(
    student_logits: Tensor,
    old_logits: Tensor,
    current_logits: Tensor,
    temperature: float | Tensor = 2.0,
) -> Tensor:
    r"""The student's divergence from two teachers, each on the classes it knows (Lee 2019).

    .. math:: L_{PC} = \frac{l}{r} L_{KD}(z_{\text{old}}, p) + \frac{r - l}{r}
        L_{KD}(z_{\text{new}}, c)

    with :math:`L_{KD}` of `soft_targets`, T² included. The softmax of each part runs only over the
    classes of that part, so this loss does not compare old classes with new ones.

    Args:
        student_logits: (batch, r), old classes first.
        old_logits, current_logits: (batch, l) and (batch, r - l).
        temperature: 2 in the authors' code; one number, or (batch, 1).

    Returns:
        A scalar in nats, at least 0; 0 exactly when both parts match.

    Raises:
        ValueError: for wrong shapes, or a temperature that is not above 0.
    """
    _check_all(student_logits, old_logits, current_logits)
    check_temperature(temperature, len(student_logits))
    known, classes = old_logits.shape[1], student_logits.shape[1]
    old = _part(student_logits[:, :known], old_logits, temperature)
    new = _part(student_logits[:, known:], current_logits, temperature)
    return (known * old + (classes - known) * new) / classes


def _part(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """`soft_targets`, except that one column is a single class and not a binary task."""
    each = divergence(at_least_float32(teacher), at_least_float32(student), temperature)
    return (each.unsqueeze(1) * temperature**2).mean()


def confidence_penalty(logits: Tensor) -> Tensor:
    r"""The divergence from uniform, for images on which a network should be unsure (Lee 2019).

    .. math:: L = \frac1B \sum_b \mathrm{KL}(u \,\|\, q_b) = -\log K - \frac{1}{BK} \sum_{b, k}
        \log q_{bk}

    Args:
        logits: (batch, classes).

    Returns:
        A scalar in nats, at least 0; 0 for equal logits.

    Raises:
        ValueError: for a wrong shape.

    >>> confidence_penalty(torch.tensor([[2.0, 0.0]]))
    tensor(0.4338)
    """
    check_logits(logits=logits)
    return divergence(torch.zeros_like(at_least_float32(logits)), at_least_float32(logits)).mean()


def _check_all(student: Tensor, old: Tensor, current: Tensor) -> None:
    for name, value in (("student", student), ("old", old), ("current", current)):
        check_logits(**{f"{name}_logits": value})
    check_together(student_logits=student, old_logits=old, current_logits=current)
    parts = old.shape[1], current.shape[1]
    if not len(student) == len(old) == len(current) or student.shape[1] != sum(parts):
        raise ValueError(
            f"student_logits must have a row for each of old_logits and current_logits and their "
            f"{parts[0]} + {parts[1]} columns; got {tuple(student.shape)}, {tuple(old.shape)} and "
            f"{tuple(current.shape)}."
        )
