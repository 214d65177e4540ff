"""Similarities and the distance of their logarithms."""

import math

import pytest
import torch
from draws import draw

from kdnb import losses
from kdnb.losses.reid import _Logarithm


def series(matrix, terms=400):
    """log(A) = -sum (I - A)^n / n, for A near I."""
    rest = torch.eye(len(matrix), dtype=matrix.dtype) - matrix
    power, total = torch.eye(len(matrix), dtype=matrix.dtype), torch.zeros_like(matrix)
    for n in range(1, terms):
        power = power @ rest
        total = total - power / n
    return total


def test_the_logarithm_against_its_series():
    x = 0.2 * draw(3, 3)
    matrix = x @ x.T + 0.5 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(_Logarithm.apply(matrix, 0.0), series(matrix))


def test_similarities_against_loops():
    x = draw(5, 4).tolist()
    clipped = [[max(v, 0.0) for v in row] for row in x]
    found = losses.similarities(torch.tensor(x))
    for a in range(5):
        for b in range(5):
            dot = sum(p * q for p, q in zip(clipped[a], clipped[b], strict=True))
            norms = [math.sqrt(sum(v * v for v in clipped[k])) for k in (a, b)]
            expected = dot / (norms[0] * norms[1]) if min(norms) else 0.0
            assert found[a, b].item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_distance_by_matrix_exponentials():
    s, t = draw(4, 6), draw(4, 3, seed=1)
    found = losses.log_euclidean(s, t, 0.5)
    logs = []
    for one in (s, t):
        matrix = losses.similarities(one) + 0.5 * torch.eye(4, dtype=torch.float64)
        log = _Logarithm.apply(losses.similarities(one), 0.5)
        torch.testing.assert_close(torch.linalg.matrix_exp(log), matrix)
        logs.append(log)
    assert found.item() == pytest.approx(float((logs[0] - logs[1]).square().sum()))


@pytest.mark.parametrize("kind", ["equal", "low rank", "nearly equal"])
def test_gradients_where_eigenvalues_meet(kind):
    """Autograd through eigh divides by their differences there."""
    x = torch.eye(5, dtype=torch.float64) + 0.3
    if kind == "low rank":
        x = draw(5, 2).abs() + 0.1
    if kind == "nearly equal":
        x = x + 1e-5 * draw(5, 5)
    target = draw(5, 3, seed=1)
    assert torch.autograd.gradcheck(
        lambda s: losses.log_euclidean(s, target), (x.requires_grad_(),)
    )


def test_lengths_and_negative_numbers_are_not_seen():
    s, t = draw(5, 6), draw(5, 6, seed=1)
    scale = torch.tensor([0.1, 1.0, 5.0, 7.0, 100.0], dtype=torch.float64)[:, None]
    lower = torch.where(s < 0, 3 * s, s)
    expected = losses.log_euclidean(s, t)
    torch.testing.assert_close(losses.log_euclidean(scale * s, t / scale), expected)
    torch.testing.assert_close(losses.log_euclidean(lower, t), expected)


def test_the_ridge_bounds_what_a_missing_direction_counts():
    """A batch of twins has an eigenvalue 0: its log is that of the ridge."""
    twins, apart = torch.ones(2, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    for ridge in (1e-6, 1e-2, 1.0):
        one = math.log(2 + ridge) - math.log(1 + ridge)
        other = math.log(ridge) - math.log(1 + ridge)
        found = losses.log_euclidean(twins, apart, ridge).item()
        assert found == pytest.approx(one**2 + other**2)
