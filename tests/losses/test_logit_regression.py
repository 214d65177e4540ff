"""Regression of the logits, against loops."""

import pytest
from draws import draw_wide

from kdnb.losses import logit_regression


def test_logit_regression_against_loops():
    student, teacher = draw_wide(5, 7), draw_wide(5, 7, seed=1)
    expected = sum(
        (z - v) ** 2
        for row, other in zip(student.tolist(), teacher.tolist(), strict=True)
        for z, v in zip(row, other, strict=True)
    ) / (2 * 5)
    assert logit_regression(student, teacher).item() == pytest.approx(expected, rel=1e-12)
