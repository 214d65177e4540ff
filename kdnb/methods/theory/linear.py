r"""Exact linear distillation (Phuong and Lampert 2019): the student of soft labels.

A linear teacher :math:`w_*` gives the soft label :math:`\sigma(w_*^\top x_i)` for n points in d
dimensions. The gradient of the student's cross-entropy is a combination of the points, so a student
that starts at 0 stays in their span; there the cross-entropy has one minimum, at which every
:math:`w^\top x_i = w_*^\top x_i`. So the student is the projection of the teacher onto the span.

Checked: the three factors of the paper's abstract (data geometry, optimisation bias, strong
monotonicity), and in O'Neill's overview of 2020 (arXiv 2006.03669, the section on why distillation
works) that with fewer points than dimensions the student is the teacher's projection onto their
span.

Recalled: the form of the bound on the risk, whose text was not available; `risk_bound` derives it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit

Array = np.ndarray


def projected(inputs: Array, teacher: Array) -> Array:
    """The orthogonal projection of a teacher (d,) onto the span of points (n, d)."""
    _check(inputs, teacher)
    return np.linalg.pinv(inputs) @ (inputs @ teacher)


def linear_student(inputs: Array, targets: Array, *, steps: int = 200) -> Array:
    r"""The student of soft labels, trained from 0 to its optimum by damped Newton steps.

    It minimises :math:`\frac1n \sum_i H(t_i, \sigma(w^\top x_i))`.

    Args:
        inputs: (n, d).
        targets: (n,) within (0, 1): the teacher's probabilities of class 1.
        steps: at most.

    Raises:
        ValueError: for wrong shapes, or a target of 0 or 1, for which there is no minimum.
    """
    _check(inputs, targets, rows=True)
    if not ((targets > 0) & (targets < 1)).all():
        raise ValueError("soft labels lie within 0 and 1: labels of 0 and 1 have no minimum.")
    weights = np.zeros(inputs.shape[1])
    best = _loss(inputs, targets, weights)
    for _ in range(steps):
        p = expit(inputs @ weights)
        gradient = inputs.T @ (p - targets)
        curved = inputs.T * np.maximum(p * (1 - p), 1e-12) @ inputs
        step, size = np.linalg.pinv(curved, hermitian=True) @ gradient, 1.0
        room = best + 1e-14 * (1 + abs(best))  # a difference of two losses has no more digits
        while _loss(inputs, targets, weights - size * step) > room and size > 1e-6:
            size /= 2
        weights = weights - size * step
        best = _loss(inputs, targets, weights)
        if np.abs(size * step).max() < 1e-13 * max(1.0, np.abs(weights).max()):
            break
    return weights


def hard_student(inputs: Array, labels: Array, *, ridge: float = 1e-6, steps: int = 200) -> Array:
    r"""The student of hard labels: logistic regression with a very small penalty.

    It minimises :math:`\frac1n \sum_i H(y_i, \sigma(w^\top x_i)) + \frac r2 |w|^2`. As r goes to 0
    its direction becomes that of the largest margin, to which gradient descent on hard labels also
    converges.

    Args:
        inputs: (n, d).
        labels: (n,) of 0 and 1.
        ridge: r.
        steps: of Newton's method, at most.
    """
    _check(inputs, labels, rows=True)
    weights, count = np.zeros(inputs.shape[1]), len(labels)

    def value(w: Array) -> float:
        return _loss(inputs, labels, w) + ridge / 2 * float(w @ w)

    for _ in range(steps):
        p = expit(inputs @ weights)
        gradient = inputs.T @ (p - labels) / count + ridge * weights
        curved = inputs.T * (p * (1 - p)) @ inputs / count + ridge * np.eye(len(weights))
        step, size = np.linalg.solve(curved, gradient), 1.0
        while value(weights - size * step) > value(weights) and size > 1e-8:
            size /= 2
        weights = weights - size * step
        if np.abs(gradient).max() < 1e-12:
            break
    return weights


def deep_linear_student(
    inputs: Array, targets: Array, *, depth: int, scale: float, steps: int = 20000, lr: float = 0.1,
    seed: int = 0,
) -> Array:  # fmt: skip
    """The product of the layers of a deep linear network, after gradient descent on soft labels.

    Args:
        inputs: (n, d).
        targets: (n,) within (0, 1).
        depth: layers; all but the last are (d, d).
        scale: scale of the initial weights, normal numbers of this standard deviation over sqrt(d).
        steps, lr: number of steps and learning rate of gradient descent on the mean cross-entropy.

    Raises:
        ValueError: for wrong shapes, or fewer than one layer.
    """
    _check(inputs, targets, rows=True)
    if depth < 1:
        raise ValueError(f"a network has at least one layer; got depth {depth}.")
    size, random = inputs.shape[1], np.random.default_rng(seed)
    shapes = [(size, size)] * (depth - 1) + [(1, size)]
    layers = [scale / np.sqrt(size) * random.standard_normal(shape) for shape in shapes]
    for _ in range(steps):
        below = [np.eye(size)]  # products of the layers under each
        for layer in layers:
            below.append(layer @ below[-1])
        slope = (expit(inputs @ below[-1][0]) - targets) @ inputs / len(targets)
        above, changes = np.eye(1), []
        for layer, under in zip(reversed(layers), reversed(below[:-1]), strict=True):
            changes.append(above.T @ (slope[None] @ under.T))
            above = above @ layer
        for layer, change in zip(layers, reversed(changes), strict=True):
            layer -= lr * change
    product = np.eye(size)
    for layer in layers:
        product = layer @ product
    return product[0]


def transfer_risk(student: Array, teacher: Array, fresh: Array) -> float:
    """The share of new points (m, d) to which student and teacher assign different classes."""
    return float(np.mean((fresh @ student > 0) != (fresh @ teacher > 0)))


def risk_bound(tail: Callable[[Array], Array], samples: int, *, angles: int = 2001) -> float:
    r"""An upper bound on the expected transfer risk of a student of n independent points.

    .. math:: E R \le \min_{0 \le \beta \le \pi/2}\; p(\beta) + p(\pi/2 - \beta)^n

    where :math:`p(\theta)` is the probability that a point lies at an angle of at least
    :math:`\theta` to the teacher's line (acute, from 0 to pi/2). Proof: no vector of the span has a
    smaller angle to the teacher than its projection, so the student's angle to the teacher is at
    most the least of the points' angles. It exceeds :math:`\pi/2 - \beta` with probability at most
    :math:`p(\pi/2 - \beta)^n`. Otherwise a point can be classified differently only at an angle of
    :math:`\beta` or more to the teacher's line.

    Args:
        tail: p, of an array of angles.
        samples: n, at least 1.
        angles: the angles at which the minimum is searched.
    """
    if samples < 1:
        raise ValueError(f"a student needs at least one point; got {samples}.")
    beta = np.linspace(0, np.pi / 2, angles)
    return float(np.min(tail(beta) + tail(np.pi / 2 - beta) ** samples))


def _loss(inputs: Array, targets: Array, weights: Array) -> float:
    z = inputs @ weights
    return float(np.mean(np.logaddexp(0, z) - targets * z))


def _check(inputs: Array, other: Array, rows: bool = False) -> None:
    wanted = inputs.shape[:1] if rows else inputs.shape[1:]
    if inputs.ndim != 2 or other.shape != wanted:
        raise ValueError(
            f"inputs are (points, dimensions), the other {'(points,)' if rows else '(dimensions,)'}; "
            f"got {inputs.shape} and {other.shape}."
        )
    if not (np.isfinite(inputs).all() and np.isfinite(other).all()):
        raise ValueError("a number is NaN or infinite.")
