"""Self-distillation in a Hilbert space, exactly (Mobahi, Farajtabar and Bartlett 2020).

Each round fits the smoothest function that is within a mean squared error of the last round's
values. In the kernel's eigenbasis a round multiplies every coordinate by a factor below 1, smaller
for small eigenvalues: the regularisation grows from round to round, and few basis functions remain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]


def spline_kernel(one: Array, other: Array) -> Array:
    r"""Green's function of the fourth derivative on [0, 1]: the penalty is the squared curvature.

    .. math:: g(x, z) = \tfrac16 \max(x - z, 0)^3 - \tfrac16 x (1 - z)(x^2 - 2z + z^2)

    zero at both ends (Mobahi 2020, section 3.1). Symmetric in x and z.

    Args:
        one, other: points in [0, 1], (n,) and (m,).

    Returns:
        (n, m).
    """
    x, z = one[:, None], other[None, :]
    return (np.maximum(x - z, 0) ** 3 - x * (1 - z) * (x**2 - 2 * z + z**2)) / 6


def gaussian_kernel(width: float) -> Kernel:
    """exp(-(x - z)² / (2 width²)) of points on a line."""
    if not width > 0:
        raise ValueError(f"width must be above 0; got {width}.")
    return lambda one, other: np.exp(-((one[:, None] - other[None, :]) ** 2) / (2 * width**2))


@dataclass(frozen=True)
class Rounds:
    """All rounds of a self-distillation; round 0 is the data, round t the t-th fit.

    Attributes:
        points: x_1 ... x_n.
        eigenvalues: d of G = K / n, descending, (n,).
        basis: the eigenvectors, (n, n), one per column.
        values: the values after each round, (rounds + 1, n); row 0 is y.
        penalties: c_t of each round, (rounds,).
        shrinkage: (rounds + 1, n), the diagonal of B_t = A_t ... A_1 in the eigenbasis, with
            A_t = d / (c_t + d); row 0 is 1.
        kernel: of the function space.
    """

    points: Array
    eigenvalues: Array
    basis: Array
    values: Array
    penalties: Array
    shrinkage: Array
    kernel: Kernel

    def __len__(self) -> int:
        return len(self.penalties)

    def predict(self, at: Array, number: int) -> Array:
        """The function of round `number`, from 1, at other points (m,)."""
        if not 1 <= number <= len(self):
            raise ValueError(f"round must lie in [1, {len(self)}]; got {number}.")
        n, c = len(self.points), self.penalties[number - 1]
        learnt = self.basis.T @ self.values[number - 1]
        weights = self.basis @ (learnt / (c + self.eigenvalues))
        return self.kernel(np.asarray(at, np.float64), self.points) @ weights / n

    def effective_basis(self) -> Array:
        """The effective number of basis functions of each round: (Σ B)² / Σ B², (rounds + 1,)."""
        return self.shrinkage.sum(1) ** 2 / (self.shrinkage**2).sum(1)


def kernel_rounds(
    points: Array,
    targets: Array,
    rounds: int,
    *,
    kernel: Kernel = spline_kernel,
    tolerance: float | None = None,
    penalty: float | None = None,
) -> Rounds:
    r"""Self-distillation by kernel regression, in closed form (Mobahi 2020, equations 5 to 12).

    .. math:: f_t = \arg\min_f R(f) \;\text{s.t.}\; \frac1n \sum_k (f(x_k) - y_{t-1,k})^2 \le
        \epsilon,
        \quad y_t = G (c_t I + G)^{-1} y_{t-1} = V D (c_t I + D)^{-1} V^\top y_{t-1}

    Args:
        points: (n,), all different.
        targets: y, (n,).
        rounds: number of rounds of self-distillation, at least 1; the first one is the plain fit.
        tolerance: ε. Every round finds its own c_t, for which the constraint holds exactly. It
            stops before a round whose targets are within ε of 0, where f = 0 is the solution.
        penalty: a constant c instead of the tolerance.

    Returns:
        The completed rounds: fewer than requested if the solution collapsed to 0.

    Raises:
        ValueError: for wrong shapes, neither or both of tolerance and penalty, or either not above
            0; or if the solution is 0 in the first round already.
    """
    points, targets = np.asarray(points, np.float64), np.asarray(targets, np.float64)
    if points.ndim != 1 or points.shape != targets.shape or len(points) == 0:
        raise ValueError(
            f"points and targets must be (n,), n at least 1; got {points.shape} and "
            f"{targets.shape}."
        )
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1; got {rounds}.")
    if (tolerance is None) == (penalty is None):
        raise ValueError("give either a tolerance or a penalty.")
    given = penalty if tolerance is None else tolerance
    if not 0 < given < np.inf:
        raise ValueError(f"tolerance or penalty must be finite and above 0; got {given}.")
    n = len(points)
    eigenvalues, basis = np.linalg.eigh(kernel(points, points) / n)
    eigenvalues, basis = np.maximum(eigenvalues[::-1], 0.0), basis[:, ::-1]  # rounding below 0
    coordinates, shrinkage = [basis.T @ targets], [np.ones(n)]
    penalties: list[float] = []
    for _ in range(rounds):
        learnt = coordinates[-1]
        if tolerance is not None and learnt @ learnt <= n * tolerance:
            break
        c = penalty if tolerance is None else penalty_for(eigenvalues, learnt, tolerance)
        factor = eigenvalues / (c + eigenvalues)
        coordinates.append(factor * learnt)
        shrinkage.append(factor * shrinkage[-1])
        penalties.append(c)
    if not penalties:
        raise ValueError(
            f"the targets' mean square is within the tolerance {tolerance}: the solution is 0."
        )
    values = np.stack([targets, *(basis @ value for value in coordinates[1:])])
    return Rounds(
        points, eigenvalues, basis, values, np.array(penalties), np.stack(shrinkage), kernel
    )


def penalty_for(eigenvalues: Array, coordinates: Array, tolerance: float) -> float:
    r"""The c at which the fit misses its targets by exactly ε in the mean square.

    .. math:: \frac1n \sum_k \Big( \frac{c}{c + d_k} z_k \Big)^2 = \epsilon

    Args:
        eigenvalues: d, (n,), none below 0.
        coordinates: z, the targets in the eigenbasis, (n,), of mean square above ε.

    Raises:
        ValueError: if no fit comes that close, because of targets outside the kernel's range.
    """

    def excess(log_c: float) -> float:
        c = np.exp(log_c)
        return float(np.mean((c / (c + eigenvalues) * coordinates) ** 2) - tolerance)

    scale = float(eigenvalues.max())
    low, high = np.log(scale) - 80, np.log(scale) + 80
    if not excess(low) < 0 < excess(high):
        raise ValueError(
            f"no penalty gives a mean square error of {tolerance}: the targets' mean square is "
            f"{np.mean(coordinates**2)}, of which {excess(low) + tolerance} cannot be fitted."
        )
    return float(np.exp(brentq(excess, low, high, xtol=1e-13, rtol=1e-15)))


def guaranteed_rounds(targets: Array, eigenvalues: Array, tolerance: float) -> float:
    r"""A lower bound on the rounds before the solution collapses (Mobahi 2020, section 3.3).

    .. math:: t \ge \frac{1}{\kappa} \Big( \frac{\lVert y \rVert}{\sqrt{n \epsilon}} - 1 \Big),
        \quad \kappa = d_{max} / d_{min}

    Departures: recalled; a test checks that no fewer rounds are made.
    """
    n = len(targets)
    condition = float(np.max(eigenvalues) / np.min(eigenvalues))
    return float((np.linalg.norm(targets) / np.sqrt(n * tolerance) - 1) / condition)


def noisy_sinusoid(seed: int, count: int = 11, noise: float = 0.5) -> tuple[Array, Array]:
    """Points k / (count + 1) inside [0, 1], and sin(2πx) with normal noise.

    Departures: follows the illustration in section 3.1 of the paper, whose details are recalled.
    Our points leave out both ends, where every function of the spline kernel's space is 0.
    """
    points = np.arange(1, count + 1) / (count + 1)
    drawn = np.random.default_rng(seed).normal(0, noise, count)
    return points, np.sin(2 * np.pi * points) + drawn


def sinusoid_errors(
    seed: int, rounds: int, tolerance: float = 0.045, noise: float = 0.5, count: int = 11
) -> list[float]:
    """Each round's mean squared error against the noiseless sinusoid, at 201 points of [0, 1].

    The error falls while self-distillation removes noise, and rises when it removes signal.
    """
    points, targets = noisy_sinusoid(seed, count, noise)
    made = kernel_rounds(points, targets, rounds, tolerance=tolerance)
    at = np.linspace(0, 1, 201)
    truth = np.sin(2 * np.pi * at)
    return [float(np.mean((made.predict(at, t) - truth) ** 2)) for t in range(1, len(made) + 1)]
