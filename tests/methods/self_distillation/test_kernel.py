"""Mobahi's self-distillation in a Hilbert space: the closed form, the shrinking basis, the end."""

import numpy as np
import pytest
from scipy.optimize import minimize

from kdnb.methods import self_distillation as own


def naive_rounds(points, targets, penalties, kernel):
    """Each round solved by itself: (cI + K/n)^-1 applied to the last round's values."""
    gram = kernel(points, points) / len(points)
    values = [targets]
    for c in penalties:
        weights = np.linalg.solve(c * np.eye(len(points)) + gram, values[-1])
        values.append(gram @ weights)
    return np.stack(values)


@pytest.mark.parametrize("kernel", [own.spline_kernel, own.gaussian_kernel(0.2)])
@pytest.mark.parametrize("bound", [{"tolerance": 0.05}, {"penalty": 1e-3}])
def test_the_closed_form_is_the_repeated_solve(kernel, bound):
    points, targets = own.noisy_sinusoid(3)
    made = own.kernel_rounds(points, targets, 4, kernel=kernel, **bound)
    assert len(made) >= 3
    naive = naive_rounds(points, targets, made.penalties, kernel)
    np.testing.assert_allclose(made.values, naive, atol=1e-9)
    by_basis = (made.shrinkage * (made.basis.T @ targets)) @ made.basis.T
    np.testing.assert_allclose(made.values, by_basis, atol=1e-10)
    for t in range(1, len(made) + 1):
        np.testing.assert_allclose(made.predict(points, t), made.values[t], atol=1e-9)


def test_every_round_misses_its_targets_by_the_tolerance():
    points, targets = own.noisy_sinusoid(3)
    made = own.kernel_rounds(points, targets, 20, tolerance=0.05)
    missed = np.square(np.diff(made.values, axis=0)).mean(1)
    np.testing.assert_allclose(missed, 0.05, rtol=1e-9)


def test_a_round_is_the_smoothest_function_within_the_tolerance():
    """Against a general constrained optimiser over the coefficients of the kernel's functions."""
    points, targets = own.noisy_sinusoid(0, count=5)
    kernel = own.gaussian_kernel(0.3)
    gram, tolerance = kernel(points, points), 0.05
    found = minimize(
        lambda a: a @ gram @ a, np.linalg.solve(gram + 1e-6 * np.eye(5), targets),
        jac=lambda a: 2 * gram @ a, method="SLSQP", options={"maxiter": 500, "ftol": 1e-14},
        constraints={
            "type": "ineq", "fun": lambda a: tolerance - np.mean((gram @ a - targets) ** 2)
        },
    )  # fmt: skip
    made = own.kernel_rounds(points, targets, 1, kernel=kernel, tolerance=tolerance)
    np.testing.assert_allclose(made.values[1], gram @ found.x, atol=2e-3)


def test_the_splines_penalty_is_its_squared_curvature():
    points = np.linspace(0.05, 0.95, 7)
    gram = own.spline_kernel(points, points)
    np.testing.assert_allclose(gram, gram.T, atol=1e-16)
    assert np.linalg.eigvalsh(gram).min() > 0
    edges = own.spline_kernel(np.array([0.0, 1.0]), points)
    np.testing.assert_allclose(edges, 0, atol=1e-16)
    # The fourth derivative's Green's function: integral of g_x'' g_z'' is g(x, z).
    grid = np.linspace(0, 1, 4001)
    step = grid[1] - grid[0]
    bent = np.diff(own.spline_kernel(grid, points), 2, axis=0) / step**2
    np.testing.assert_allclose(bent.T @ bent * step, gram, atol=1e-5)


def test_the_basis_becomes_sparser_in_every_round():
    points, targets = own.noisy_sinusoid(3)
    made = own.kernel_rounds(points, targets, 20, tolerance=0.05)
    assert len(made) >= 4
    assert (np.diff(made.eigenvalues) <= 0).all()
    # Ratios of neighbouring diagonal entries of B_t, large eigenvalue over small, only grow.
    ratios = made.shrinkage[:, :-1] / made.shrinkage[:, 1:]
    assert (np.diff(ratios, axis=0) > 0).all()
    assert (np.diff(made.shrinkage, axis=0) < 0).all()
    assert (np.diff(made.effective_basis()) < 0).all()
    assert made.effective_basis()[0] == pytest.approx(11)
    assert made.effective_basis()[-1] < 4


def test_self_distillation_differs_from_more_penalty_at_once():
    """No single ridge penalty has the last round's factors: it is a power, not a larger c."""
    points, targets = own.noisy_sinusoid(3)
    made = own.kernel_rounds(points, targets, 3, tolerance=0.05)
    d, last = made.eigenvalues, made.shrinkage[-1]
    single = d * (1 - last) / last  # the c that would give each factor
    assert single.max() / single.min() > 2
    first = made.shrinkage[1]
    np.testing.assert_allclose(d * (1 - first) / first, made.penalties[0], rtol=1e-9)


def test_it_ends_when_the_targets_are_within_the_tolerance():
    points, targets = own.noisy_sinusoid(3)
    made = own.kernel_rounds(points, targets, 1000, tolerance=0.05)
    assert len(made) < 20
    norms = np.square(made.values).mean(1)
    assert norms[-1] <= 0.05
    assert (norms[:-1] > 0.05).all()
    with pytest.raises(ValueError, match="the solution is 0"):
        own.kernel_rounds(points, 0.1 * targets, 1, tolerance=0.05)


def test_the_guaranteed_rounds_are_made():
    points = np.arange(1, 6) / 6
    for seed in range(5):
        targets = 5 * np.random.default_rng(seed).normal(size=5)
        kernel = own.gaussian_kernel(0.05)  # well conditioned, so that the bound says something
        made = own.kernel_rounds(points, targets, 1000, kernel=kernel, tolerance=0.05)
        bound = own.guaranteed_rounds(targets, made.eigenvalues, 0.05)
        assert bound > 3
        assert len(made) >= bound - 1


def test_few_rounds_help_and_many_harm():
    """The paper's finding, over 40 noise draws: the mean best round is neither the first nor last."""
    courses = [own.sinusoid_errors(seed, 30) for seed in range(40)]
    best = [int(np.argmin(course)) for course in courses]
    assert sum(b > 0 for b in best) >= 15
    assert all(course[-1] > min(course) for course in courses)


def test_wrong_arguments():
    points, targets = own.noisy_sinusoid(0)
    for bound in ({}, {"tolerance": 0.1, "penalty": 0.1}):
        with pytest.raises(ValueError, match="either a tolerance or a penalty"):
            own.kernel_rounds(points, targets, 2, **bound)
    for value in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match="finite and above 0"):
            own.kernel_rounds(points, targets, 2, penalty=value)
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        own.kernel_rounds(points, targets, 0, penalty=0.1)
    with pytest.raises(ValueError, match=r"\(11,\) and \(10,\)"):
        own.kernel_rounds(points, targets[:-1], 2, penalty=0.1)
    with pytest.raises(ValueError, match="width must be above 0"):
        own.gaussian_kernel(0.0)
    made = own.kernel_rounds(points, targets, 2, penalty=1e-3)
    for number in (0, 3):
        with pytest.raises(ValueError, match=r"round must lie in \[1, 2\]"):
            made.predict(points, number)
    ends = np.array([0.0, 0.5, 1.0])
    with pytest.raises(ValueError, match="cannot be fitted"):
        own.kernel_rounds(ends, np.array([1.0, 0.0, 1.0]), 1, tolerance=0.1)
