"""Locality preserving: loops, close pairs, errors."""

import math

import pytest
import torch
from draws import draw_wide
from loops import SHAPES, distance, lists

from kdnb.losses import (
    _arithmetic,
    locality_preserving,
)


def naive_locality(student, teacher, k, bandwidth):
    s, t = lists(student), lists(teacher)
    n, total = len(s), 0.0
    for i in range(n):
        near = sorted((j for j in range(n) if j != i), key=lambda j: distance(t[i], t[j]))[:k]
        for j in near:
            total += (
                math.exp(-(distance(t[i], t[j]) ** 2) / bandwidth**2) * distance(s[i], s[j]) ** 2
            )
    return total / (n * k)


@pytest.mark.parametrize(("one", "other"), SHAPES)
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_locality_against_loops(one, other, limit, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    s, t = draw_wide(*one), draw_wide(*other, seed=1)
    got = locality_preserving(s, t, 2, 9.0)
    assert got.item() == pytest.approx(naive_locality(s, t, 2, 9.0), rel=1e-9)


def test_the_teachers_scale_does_not_matter():
    """With a fixed delta of the square root of 2, every weight of a teacher ten times as large is 0."""
    s, t = draw_wide(8, 4), draw_wide(8, 5, seed=1)
    got = locality_preserving(s, t, 3)
    torch.testing.assert_close(locality_preserving(s, 10 * t, 3), got)
    near = [sorted(distance(a, b) ** 2 for b in lists(t) if b != a)[:3] for a in lists(t)]
    delta = math.sqrt(sum(map(sum, near)) / 24)
    assert got.item() == pytest.approx(naive_locality(s, t, 3, delta), rel=1e-9)
    torch.testing.assert_close(
        locality_preserving(s, 0 * t, 3), locality_preserving(s, 0 * t, 3, 1.0)
    )


def test_lp_refuses_wrong_options():
    s = torch.ones(4, 3)
    with pytest.raises(ValueError, match="bandwidth must be a finite number above 0; got nan"):
        locality_preserving(s, s, bandwidth=math.nan)
