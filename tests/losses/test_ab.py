"""Activation boundaries against loops; the weights of the layers."""

import pytest
from draws import MAPS, draw
from loops import naive_sum

from kdnb import losses


@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_activation_boundary_against_loops(margin):
    student, teacher = draw(*MAPS), draw(*MAPS, seed=1)

    def term(s, t, c):
        return max(0.0, margin - s) ** 2 if t > 0 else max(0.0, margin + s) ** 2

    expected = naive_sum(student, teacher, term)
    value = losses.activation_boundary(student, teacher, margin)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    authors = losses.activation_boundary(student, teacher, margin, "authors")
    assert authors.item() == pytest.approx(expected * 0.003, rel=1e-12)


def test_depth_weights():
    assert losses.depth_weights(1) == [1.0]
    assert losses.depth_weights(4) == [0.125, 0.25, 0.5, 1.0]
