"""DFAD's discrepancy, against loops."""

import pytest
from draws import draw

from kdnb.losses import (
    discrepancy,
)


def test_discrepancy_against_loops():
    student, teacher = draw(3, 4), draw(3, 4, seed=1)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    expected = sum(abs(a - b) for a, b in pairs) / 12
    assert discrepancy(student, teacher).item() == pytest.approx(expected, rel=1e-10)
