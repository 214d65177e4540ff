"""Soft targets: naive derivations, the paper's identities, high temperatures."""

import math

import pytest
import torch
from draws import draw, draw_wide
from loops import softmax

from kdnb.losses import soft_targets
from kdnb.reproductions import hinton2015


def naive_soft_targets(student, teacher, temperature):
    total = 0.0
    for z, v in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = softmax(z, temperature), softmax(v, temperature)
        total += sum(pk * math.log(pk / qk) for pk, qk in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("shape", [(1, 2), (7, 10), (3, 100)])
def test_soft_targets_against_loops(shape, temperature):
    student, teacher = draw_wide(*shape), draw_wide(*shape, seed=1)
    expected = naive_soft_targets(student, teacher, temperature)
    assert soft_targets(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-10)


def test_paper_identities():
    for identity in (
        hinton2015.gradient_identity,
        hinton2015.high_temperature_limit,
        hinton2015.balance,
    ):
        value, tolerance = identity()
        assert abs(value) <= tolerance, identity.__name__


def test_without_the_factor_the_balance_is_lost():
    norms = []
    for temperature in (50.0, 100.0):
        student = draw_wide(8, 10).requires_grad_()
        loss = soft_targets(student, draw_wide(8, 10, seed=1), temperature) / temperature**2
        norms.append(torch.autograd.grad(loss, student)[0].norm())
    assert norms[0] / norms[1] == pytest.approx(4, rel=0.05)


def test_soft_targets_do_not_see_a_shift_of_the_logits():
    student, teacher = draw_wide(4, 6), draw_wide(4, 6, seed=1)
    moved = soft_targets(student + 5, teacher - draw_wide(4, 1, seed=2), 4.0)
    assert moved.item() == pytest.approx(soft_targets(student, teacher, 4.0).item(), rel=1e-10)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_wrong_temperature(temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        soft_targets(torch.zeros(1, 2), torch.zeros(1, 2), temperature)


def exact(student, teacher, temperature):
    """The divergence in float64, by a sum whose terms are all at least 0."""
    z, v = (logits.double() / temperature for logits in (student, teacher))
    p, gap = v.softmax(1), z - v
    moved = (gap - (p * gap).sum(1, keepdim=True)).tolist()
    total = 0.0
    for weights, row in zip(p.tolist(), moved, strict=True):
        beyond = (
            x * x / 2 + x**3 / 6 + x**4 / 24 if abs(x) < 1e-4 else math.expm1(x) - x for x in row
        )
        total += math.log1p(sum(w * x for w, x in zip(weights, beyond, strict=True)))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("apart", [1e-3, 1e-2, 0.3])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0, 40.0, 1000.0])
def test_float32_keeps_its_digits_near_a_match_at_any_temperature(temperature, apart):
    """A sum of p (log p - log q) is below 0 in 139 of 300 such cases at T = 1000."""
    for seed in range(20):
        teacher = draw_wide(8, 10, seed=seed).float()
        student = (teacher + apart * draw(8, 10, seed=100 + seed)).float()
        value = soft_targets(student, teacher, temperature).item()
        assert value >= 0
        assert value == pytest.approx(exact(student, teacher, temperature), rel=2e-5)


def test_a_perfect_match_is_exactly_0_and_a_saturated_one_not_below():
    for scale in (1.0, 30.0, 1e3):
        logits = scale * draw(6, 10).float()
        assert soft_targets(logits, logits, 3.0) == 0
        assert soft_targets(logits + 5, logits, 3.0) >= 0


def test_far_apart_it_is_the_plain_sum():
    student, teacher = 30 * draw(6, 10), 30 * draw(6, 10, seed=1)
    p, q = teacher.log_softmax(1), student.log_softmax(1)
    expected = (p.exp() * (p - q)).sum(1).mean()
    torch.testing.assert_close(soft_targets(student, teacher, 1.0), expected)
    masked = torch.tensor([[0.0, -math.inf, 1.0]])
    assert soft_targets(masked, torch.zeros(1, 3), 1.0) == math.inf


def test_one_logit_is_that_of_a_binary_task():
    student, teacher = torch.tensor([[3.0], [0.5]]), torch.tensor([[-3.0], [2.0]])
    both = [torch.cat([z, torch.zeros_like(z)], 1) for z in (student, teacher)]
    torch.testing.assert_close(soft_targets(student, teacher, 2.0), soft_targets(*both, 2.0))
    assert soft_targets(student[:1], teacher[:1], 1.0).item() == pytest.approx(2.7154, abs=1e-4)
