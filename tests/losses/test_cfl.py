"""The discrepancy of common features, against loops."""

import math

import pytest
import torch
from draws import draw
from loops import dot, lists

from kdnb import losses
from kdnb.losses.cfl import BANDWIDTHS


def units(rows):
    return [[x / math.sqrt(dot(row, row)) for x in row] for row in rows]


def naive(a, b, widths):
    def mean(left, right):
        total = 0.0
        for x in left:
            for y in right:
                square = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
                total += sum(math.exp(-square / (2 * width**2)) for width in widths)
        return total / len(left) / len(right)

    return mean(a, a) + mean(b, b) - 2 * mean(a, b)


@pytest.mark.parametrize("widths", [BANDWIDTHS, (0.5,), (0.3, 3.0)])
def test_against_loops(widths):
    one, other = draw(5, 2, 3), draw(5, 6, seed=1)
    expected = naive(units(lists(one)), units(lists(other)), widths)
    found = losses.common_feature_discrepancy(one, other, widths)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_it_sees_sets_of_directions_and_nothing_else():
    one, other = draw(6, 4), draw(6, 4, seed=1)
    value = losses.common_feature_discrepancy(one, other)
    lengths = draw(6, 1, seed=2).abs() + 0.1
    for a, b in ((one * lengths, other), (one.flip(0), other), (other, one)):
        torch.testing.assert_close(losses.common_feature_discrepancy(a, b), value)
    turn = torch.linalg.qr(draw(4, 4, seed=3)).Q
    moved = losses.common_feature_discrepancy(one @ turn, other @ turn)
    torch.testing.assert_close(moved, value)
    shuffled = losses.common_feature_discrepancy(one, one[torch.tensor([3, 0, 5, 1, 4, 2])])
    assert shuffled.item() == pytest.approx(0, abs=1e-12)


def test_features_far_apart_reach_the_bound_of_each_kernel():
    one, other = torch.eye(2)[[0, 0]], torch.eye(2)[[1, 1]]
    narrow = losses.common_feature_discrepancy(one, other, (0.01, 0.05))
    assert narrow.item() == pytest.approx(4)
    wide = losses.common_feature_discrepancy(one, other, (2.0,))
    assert wide.item() == pytest.approx(2 - 2 * math.exp(-2 / 8), rel=1e-6)


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match=r"as many numbers a sample; got \(3, 2\) and \(3, 4\)"):
        losses.common_feature_discrepancy(torch.ones(3, 2), torch.ones(3, 4))
