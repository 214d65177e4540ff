"""Layer projection, against loops."""

import math

import pytest
from draws import draw

from kdnb import losses


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_layer_projection_against_loops(temperature):
    student, teacher = draw(3, 2, 4), draw(3, 5, 4, seed=1)
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        for layer in s:
            dots = [sum(a * b for a, b in zip(layer, row, strict=True)) for row in t]
            powers = [math.exp(dot / temperature) for dot in dots]
            for k in range(4):
                mixed = sum(p * row[k] for p, row in zip(powers, t, strict=True)) / sum(powers)
                total += (layer[k] - mixed) ** 2 / (3 * 4)
    value = losses.layer_projection(student, teacher, temperature)
    assert value.item() == pytest.approx(total, rel=1e-10)
