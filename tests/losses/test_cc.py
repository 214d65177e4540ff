"""Correlation congruence: loops, invariances, errors."""

import math

import pytest
import torch
from draws import draw_wide
from loops import SHAPES, dot, lists

from kdnb.losses import (
    correlation_congruence,
)


def rotation(size, seed=9):
    return torch.linalg.qr(draw_wide(size, size, seed=seed)).Q


def naive_cc(student, teacher, coefficient, order):
    kernels = []
    for x in (lists(student), lists(teacher)):
        x = [[v / math.sqrt(dot(row, row)) for v in row] for row in x]
        kernels.append(
            [
                sum(
                    math.exp(-2 * coefficient)
                    * (2 * coefficient) ** p
                    / math.factorial(p)
                    * dot(a, b) ** p
                    for p in range(order + 1)
                )
                for a in x
                for b in x
            ]
        )
    return sum((a - b) ** 2 for a, b in zip(*kernels, strict=True)) / len(student) ** 2


@pytest.mark.parametrize(("one", "other"), SHAPES)
def test_congruence_against_loops(one, other):
    s, t = draw_wide(*one), draw_wide(*other, seed=1)
    for got, expected in (
        (correlation_congruence(s, t), naive_cc(s, t, 0.4, 2)),
        (correlation_congruence(s, t, 0.7, 3), naive_cc(s, t, 0.7, 3)),
    ):
        assert got.item() == pytest.approx(expected, rel=1e-9)


def test_cc_sees_no_rotation_and_no_scales():
    s, t = draw_wide(6, 4), draw_wide(6, 5, seed=1)
    turned = s @ rotation(4)
    each = torch.rand(6, 1, dtype=torch.float64) + 0.5
    torch.testing.assert_close(
        correlation_congruence(2.5 * turned, t), correlation_congruence(s, t)
    )
    torch.testing.assert_close(
        correlation_congruence(s, 2.5 * t @ rotation(5)), correlation_congruence(s, t)
    )
    torch.testing.assert_close(
        correlation_congruence(each * s, t / each), correlation_congruence(s, t)
    )


def test_cc_refuses_wrong_options():
    s = torch.ones(4, 3)
    with pytest.raises(ValueError, match="kernel_coefficient must be a finite number above 0"):
        correlation_congruence(s, s, 0.0)
    with pytest.raises(ValueError, match="order must be at least 1, a whole number; got 0"):
        correlation_congruence(s, s, order=0)
