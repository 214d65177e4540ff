"""Measures of an accuracy matrix, against loops and a matrix worked out by hand."""

import math

import pytest
import torch

from kdnb.methods import lifelong

MATRIX = torch.tensor([[90.0, 10.0, 20.0], [95.0, 80.0, 30.0], [60.0, 70.0, 100.0]])
UNTRAINED = torch.tensor([50.0, 12.0, 25.0])


def test_by_hand():
    found = lifelong.summary(MATRIX, UNTRAINED)
    assert found["average accuracy"] == pytest.approx(230 / 3)
    assert found["learning accuracy"] == pytest.approx(90)
    assert found["forgetting"] == pytest.approx((35 + 10) / 2)
    assert found["backward transfer"] == pytest.approx((-30 - 10) / 2)
    assert found["forward transfer"] == pytest.approx((10 - 12 + 30 - 25) / 2)
    assert "forward transfer" not in lifelong.summary(MATRIX)


def test_against_loops():
    matrix = 100 * torch.rand(5, 5, generator=torch.Generator().manual_seed(1))
    rows, last = matrix.tolist(), 4
    lost = [max(rows[k][i] for k in range(i, last)) - rows[last][i] for i in range(last)]
    assert lifelong.forgetting(matrix) == pytest.approx(sum(lost) / last)
    moved = [rows[last][i] - rows[i][i] for i in range(last)]
    assert lifelong.backward_transfer(matrix) == pytest.approx(sum(moved) / last)
    ahead = [rows[i - 1][i] - rows[0][i] for i in range(1, 5)]
    assert lifelong.forward_transfer(matrix, matrix[0]) == pytest.approx(sum(ahead) / last)


def test_what_a_context_knew_before_it_came_is_nothing_forgotten():
    """A lucky guess on a context that is still to come does not count as its best moment."""
    lucky = MATRIX.clone()
    lucky[0, 1] = 100
    assert lifelong.forgetting(lucky) == lifelong.forgetting(MATRIX)


def test_contexts_that_have_no_answer_yet():
    matrix = torch.tensor([[90.0, math.nan], [70.0, 80.0]])
    assert lifelong.forgetting(matrix) == 20
    assert math.isnan(lifelong.forward_transfer(matrix, torch.full((2,), math.nan)))


def test_wrong_matrices():
    with pytest.raises(ValueError, match=r"square; got \(2, 3\)"):
        lifelong.average_accuracy(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="with one context"):
        lifelong.forgetting(torch.zeros(1, 1))
    with pytest.raises(ValueError, match=r"untrained must have shape \(3,\)"):
        lifelong.forward_transfer(MATRIX, UNTRAINED[:2])
