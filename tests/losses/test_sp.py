"""Similarity preserving: loops and invariances."""

import math

import pytest
import torch
from draws import draw_wide
from loops import SHAPES, dot, lists

from kdnb.losses import (
    similarity_preserving,
)


def rotation(size, seed=9):
    return torch.linalg.qr(draw_wide(size, size, seed=seed)).Q


def naive_sp(student, teacher):
    grams = []
    for x in (lists(student), lists(teacher)):
        gram = [[dot(a, b) for b in x] for a in x]
        grams.append([[g / math.sqrt(dot(row, row)) for g in row] for row in gram])
    n = len(grams[0])
    return sum((grams[0][i][j] - grams[1][i][j]) ** 2 for i in range(n) for j in range(n)) / n**2


@pytest.mark.parametrize(("one", "other"), SHAPES)
def test_similarity_against_loops(one, other):
    s, t = draw_wide(*one), draw_wide(*other, seed=1)
    assert similarity_preserving(s, t).item() == pytest.approx(naive_sp(s, t), rel=1e-9)


def test_sp_sees_no_rotation_and_one_scale():
    s, t = draw_wide(6, 4), draw_wide(6, 5, seed=1)
    turned = s @ rotation(4)
    each = torch.rand(6, 1, dtype=torch.float64) + 0.5
    torch.testing.assert_close(similarity_preserving(2.5 * turned, t), similarity_preserving(s, t))
    torch.testing.assert_close(
        similarity_preserving(s, 2.5 * t @ rotation(5)), similarity_preserving(s, t)
    )
    assert abs(similarity_preserving(each * s, t) - similarity_preserving(s, t)) > 1e-4
