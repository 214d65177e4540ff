"""The hint, against loops."""

import pytest
from draws import MAPS, draw
from loops import AXES, naive_sum

from kdnb import losses


@pytest.mark.parametrize(("variant", "divisor"), [("paper", 2), ("common", len(AXES))])
def test_hint_against_loops(variant, divisor):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)
    expected = naive_sum(student, teacher, lambda s, t, c: (s - t) ** 2) / divisor
    assert losses.hint(student, teacher, variant).item() == pytest.approx(expected, rel=1e-12)
