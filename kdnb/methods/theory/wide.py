r"""Exact distillation of very wide networks (Ji and Zhu 2020), by a kernel.

An infinitely wide network that is trained by gradient descent acts as a linear model of its
tangent features, so a student is kernel regression with the neural tangent kernel. Here the
network has one hidden layer of ReLU and both layers are trained.

Checked: the loss with the share rho of soft labels, the paper's *soft ratio* (its introduction),
and the two statements of its abstract that the tests of chapter 8 check. Its data inefficiency and
its bound on the risk are not used here; their definitions were not available.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdnb.names import brief


def relu_kernel(one: Tensor, other: Tensor) -> Tensor:
    r"""The neural tangent kernel of a network with one hidden layer of ReLU, both layers trained.

    .. math:: \Theta(x, x') = |x|\,|x'|\,\big(u\,\kappa_0(u) + \kappa_1(u)\big),\quad
              u = \cos(x, x')

    with :math:`\kappa_0(u) = 1 - \arccos(u)/\pi` and
    :math:`\kappa_1(u) = \big(\sqrt{1-u^2} + u(\pi - \arccos u)\big)/\pi`, for weights of variance 2
    over the fan-in in the first layer.

    Args:
        one: (n, d). other: (m, d).

    Returns:
        (n, m).

    Raises:
        ValueError: for wrong shapes.
    """
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(
            f"both must be (points, dimensions); got {tuple(one.shape)} and {tuple(other.shape)}."
        )
    sizes = one.norm(dim=1)[:, None] * other.norm(dim=1)[None]
    u = (one @ other.T / sizes.clamp_min(torch.finfo(one.dtype).tiny)).clamp(-1, 1)
    angle = torch.arccos(u)
    zeroth = 1 - angle / math.pi
    first = ((1 - u**2).clamp_min(0).sqrt() + u * (math.pi - angle)) / math.pi
    return sizes * (u * zeroth + first)


def soft_mixture(labels: Tensor, answers: Tensor, soft: float) -> Tensor:
    r"""The target :math:`\rho p + (1-\rho) y` equal to mixed soft and hard labels at T = 1.

    The cross-entropy is linear in its target:
    :math:`\rho H(p, q) + (1-\rho) H(y, q) = H(\rho p + (1-\rho) y, q)`.

    Args:
        labels: (n,) of 0 and 1. answers: (n,) probabilities of class 1.
        soft: rho, the share of the answers, from 0 to 1.

    Raises:
        ValueError: for wrong shapes or shares.
    """
    if labels.shape != answers.shape or labels.ndim != 1:
        raise ValueError(
            f"labels and answers are (n,); got {tuple(labels.shape)} and {tuple(answers.shape)}."
        )
    if not 0 <= soft <= 1:
        raise ValueError(f"the share of soft labels lies from 0 to 1; got {brief(soft)}.")
    return soft * answers + (1 - soft) * labels


def kernel_student(
    kernel: Tensor, targets: Tensor, *, ridge: float = 1e-6, steps: int = 60
) -> Tensor:
    r"""Kernel logistic regression: coefficients a of :math:`f(x) = \sum_i a_i \Theta(x, x_i)`.

    It minimises :math:`\frac1n \sum_i H(t_i, \sigma(f(x_i))) + \frac r2\, a^\top \Theta a` by
    damped Newton steps in float64. With soft targets and a small r it fits every target; hard
    targets need the penalty, since they have no optimum without it.

    Args:
        kernel: (n, n) of the training points.
        targets: (n,) probabilities of class 1.
        ridge: r > 0.
        steps: at most.

    Raises:
        ValueError: for wrong shapes, or a ridge that is not above 0.
    """
    n = len(targets)
    if kernel.shape != (n, n) or targets.ndim != 1:
        raise ValueError(
            f"the kernel is (n, n) and targets (n,); got {tuple(kernel.shape)}, {tuple(targets.shape)}."
        )
    if not ridge > 0:
        raise ValueError(f"the ridge must be above 0; got {brief(ridge)}.")
    k, t = kernel.double(), targets.double()
    a = torch.zeros(n, dtype=torch.float64)

    def value(a: Tensor) -> float:
        f = k @ a
        loss = (torch.nn.functional.softplus(f) - t * f).mean()
        return float(loss + ridge / 2 * (a @ f))

    best = value(a)
    for _ in range(steps):
        p = (k @ a).sigmoid()
        curved = p * (1 - p) / n
        residual = (p - t) / n + ridge * a  # the gradient is k times this
        step = torch.linalg.solve(
            curved[:, None] * k + ridge * torch.eye(n, dtype=k.dtype), residual
        )
        size = 1.0
        while value(a - size * step) > best and size > 1e-8:
            size /= 2
        a = a - size * step
        before, best = best, value(a)
        if before - best < 1e-13:
            break
    return a
