"""Attention transfer, against loops."""

import math

import pytest
from draws import draw
from loops import flat, normal

from kdnb import losses


def naive_attention(student, teacher, power=2, variant="paper"):
    total, positions = 0.0, len(flat(student[0])[0])
    for pair in zip(student, teacher, strict=True):
        vectors = []
        for sample in pair:
            channels = flat(sample)
            vectors.append(
                normal([sum(abs(c[i]) ** power for c in channels) for i in range(positions)])
            )
        difference = [a - b for a, b in zip(*vectors, strict=True)]
        square = sum(d * d for d in difference)
        total += square / positions if variant == "authors" else math.sqrt(square)
    return total / len(student)


@pytest.mark.parametrize("power", [1, 2, 3.5])
@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_attention_transfer_against_loops(power, variant):
    student, teacher = draw(3, 6, 5, 2), draw(3, 4, 5, 2, seed=1)
    expected = naive_attention(student, teacher, power, variant)
    value = losses.attention_transfer(student, teacher, power, variant).item()
    assert value == pytest.approx(expected, rel=1e-10)
