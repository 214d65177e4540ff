"""DeepInversion's terms: naive derivations, gradients at zero, errors."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import (
    competition,
    statistics_distance,
    total_variation,
)


def softmax(row):
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def rows(logits):
    return [softmax(row) for row in logits.tolist()]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_competition_is_one_minus_jensen_shannon(temperature):
    student, teacher = draw(4, 3, scale=3.0), draw(4, 3, scale=3.0, seed=1)
    total = 0.0
    for q, p in zip(rows(student / temperature), rows(teacher / temperature), strict=True):
        m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        for one in (p, q):
            total += sum(a * math.log(a / c) for a, c in zip(one, m, strict=True)) / 2
    found = competition(student, teacher, temperature).item()
    assert found == pytest.approx(1 - total / 4, rel=1e-10)
    opposite = 1e3 * torch.tensor([[1.0, -1.0]])
    assert competition(opposite, -opposite).item() == pytest.approx(1 - math.log(2))


def test_total_variation_against_loops():
    images = draw(2, 1, 3, 4)
    expected = 0.0
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        squares = 0.0
        for b in range(2):
            for y in range(3):
                for x in range(4):
                    if y + dy < 3 and 0 <= x + dx < 4:
                        gap = images[b, 0, y + dy, x + dx] - images[b, 0, y, x]
                        squares += gap.item() ** 2
        expected += math.sqrt(squares)
    assert total_variation(images).item() == pytest.approx(expected, rel=1e-10)


def test_gradients_stay_finite_where_norms_are_zero():
    mean = torch.zeros(3, requires_grad=True)
    statistics_distance(mean, mean + 1, torch.zeros(3), torch.ones(3)).backward()
    assert torch.equal(mean.grad, torch.zeros(3))
    flat = torch.ones(2, 1, 4, 4, requires_grad=True)
    total_variation(flat).backward()
    assert torch.equal(flat.grad, torch.zeros_like(flat))


def test_gradients_by_finite_differences():
    logits, other = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    assert gradcheck(lambda a, b: competition(a, b, 3.0), (logits, other))
    assert gradcheck(total_variation, (draw(2, 1, 3, 3).requires_grad_(),))
    mean, variance = draw(3).requires_grad_(), draw(3, seed=1).requires_grad_()
    stored = draw(3, seed=2), draw(3, seed=3)
    assert gradcheck(lambda m, v: statistics_distance(m, v, *stored), (mean, variance))


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(4, 3, dtype=torch.bfloat16)
    assert competition(logits, logits).dtype == torch.float32
    images = torch.randn(1, 1, 3, 3, dtype=torch.bfloat16)
    assert total_variation(images).dtype == torch.float32


def test_errors_name_what_was_got():
    with pytest.raises(ValueError, match="2x2 pixels or larger"):
        total_variation(torch.zeros(1, 1, 1, 4))
    with pytest.raises(ValueError, match=r"variance must be \(2,\), one number .* got \(3,\)"):
        statistics_distance(torch.zeros(2), torch.zeros(3), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"mean must be \(channels,\), one number for each"):
        statistics_distance(*[torch.zeros(2, 2)] * 4)
