"""The overhaul's distance and margin, against loops and numerical means."""

import math

import pytest
import torch
from draws import MAPS, draw
from loops import naive_sum

from kdnb import losses


def test_overhaul_against_loops():
    student, teacher, margin = draw(*MAPS), draw(*MAPS, seed=1), -draw(4, seed=2).abs()

    def term(s, t, c):
        target = max(t, margin[c].item())
        return 0.0 if s <= target <= 0 else (target - s) ** 2

    expected = naive_sum(student, teacher, term)
    value = losses.overhaul(student, teacher, margin).item()
    assert value == pytest.approx(expected, rel=1e-12)


def test_overhaul_margin_is_the_mean_of_the_negative_part():
    weight = torch.tensor([1.0, -2.0, 0.5, 1.0, 0.0, 0.0, 1e-3], dtype=torch.float64)
    bias = torch.tensor([0.0, 1.0, -3.0, 4.0, -0.5, 0.5, 1.0], dtype=torch.float64)
    values = losses.overhaul_margin(weight, bias)
    for i in range(4):
        scale, mean = abs(weight[i].item()), bias[i].item()
        steps = [mean - 12 * scale + k * scale / 2000 for k in range(40000)]
        steps = [x for x in steps if x < 0]
        density = [math.exp(-(((x - mean) / scale) ** 2) / 2) for x in steps]
        expected = sum(x * d for x, d in zip(steps, density, strict=True)) / sum(density)
        assert values[i].item() == pytest.approx(expected, abs=2e-3)
    assert values[4:].tolist() == pytest.approx([-0.5, 0.0, -1e-6], rel=1e-3)
    authors = losses.overhaul_margin(weight, bias, "authors")
    torch.testing.assert_close(authors[:3], values[:3])
    assert authors[3].item() == -3.0
    assert (losses.overhaul_margin(weight.float(), bias.float()) <= 0).all()
