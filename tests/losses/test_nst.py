"""Neuron selectivity, against loops."""

import math

import pytest
import torch
from draws import draw
from loops import flat, normal

from kdnb import losses


def kernel_value(x, y, kernel, bandwidth):
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    if kernel == "gaussian":
        return math.exp(-sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / (2 * bandwidth))
    return dot if kernel == "linear" else dot * dot


def naive_selectivity(student, teacher, kernel, bandwidth=None):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        s, t = ([normal(channel) for channel in flat(sample)] for sample in (s, t))
        sigma = bandwidth or sum(
            sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x in t for y in s
        ) / (len(s) * len(t))
        for left, right, sign in ((t, t, 1), (s, s, 1), (t, s, -2)):
            pairs = [kernel_value(x, y, kernel, sigma) for x in left for y in right]
            total += sign * sum(pairs) / len(pairs)
    return total / len(student)


@pytest.mark.parametrize("bandwidth", [None, 0.3])
@pytest.mark.parametrize("kernel", ["linear", "polynomial", "gaussian"])
def test_neuron_selectivity_against_a_double_loop(kernel, bandwidth):
    student, teacher = draw(2, 6, 5, 2), draw(2, 4, 5, 2, seed=1)
    value = losses.neuron_selectivity(student, teacher, kernel, bandwidth=bandwidth)
    expected = naive_selectivity(student, teacher, kernel, bandwidth)
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_polynomial_selectivity_matches_gram_matrices_of_positions():
    """With d = 2, c = 0 the MMD is the distance of mean outer products over the positions."""
    student, teacher = draw(2, 6, 5, 2), draw(2, 4, 5, 2, seed=1)
    grams = []
    for maps in (student, teacher):
        rows = torch.nn.functional.normalize(maps.flatten(2), dim=2)
        grams.append(rows.mT @ rows / rows.shape[1])
    expected = (grams[0] - grams[1]).square().sum(dim=(1, 2)).mean()
    torch.testing.assert_close(losses.neuron_selectivity(student, teacher), expected)
