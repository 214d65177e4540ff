"""Probability density distillation: known divergences, entropy, and the way its gradient takes."""

import math

import pytest
import torch
from draws import draw

from kdnb.losses import density_distillation


def logistic_log_density(x, mean, log_scale):
    u = (x - mean) / log_scale.exp()
    return -u - log_scale - 2 * torch.nn.functional.softplus(-u)


def noise(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(count, 1, generator=generator, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return u.logit()


def test_against_loops():
    s, t = draw(3, 4), draw(3, 4, seed=1)
    total = sum(
        sum(-b - (a + 2) for a, b in zip(x, y, strict=True))
        for x, y in zip(s.tolist(), t.tolist(), strict=True)
    )
    assert density_distillation(s, t).item() == pytest.approx(total / 3)


def test_the_entropy_of_a_logistic_is_its_log_scale_plus_two():
    """So a student that is its teacher has no loss, but for the noise that was drawn."""
    for log_scale in (-1.0, 0.7):
        ln_s = torch.full((200_000, 1), log_scale, dtype=torch.float64)
        x = 0.3 + ln_s.exp() * noise(len(ln_s))
        theirs = logistic_log_density(x, 0.3, ln_s)
        assert abs(density_distillation(ln_s, theirs).item()) < 0.01
        assert -theirs.mean().item() == pytest.approx(log_scale + 2, abs=0.01)


def test_divergence_of_two_logistics_by_integration():
    x = torch.linspace(-60, 60, 400_001, dtype=torch.float64)
    ours = logistic_log_density(x, 0.0, torch.tensor(0.0))
    theirs = logistic_log_density(x, 1.0, torch.tensor(0.5))
    exact = torch.trapezoid(ours.exp() * (ours - theirs), x).item()
    u = noise(400_000, 3)
    drawn = density_distillation(
        torch.zeros_like(u), logistic_log_density(u, 1.0, torch.tensor(0.5))
    )
    assert drawn.item() == pytest.approx(exact, abs=0.01)


def test_the_gradient_passes_through_the_samples():
    mean = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    ln_s = torch.zeros(50_000, 1, dtype=torch.float64)
    x = mean + noise(len(ln_s))
    density_distillation(ln_s, logistic_log_density(x, 0.0, torch.tensor(0.0))).backward()
    assert mean.grad.item() > 0.1  # the teacher is to the left


def test_gradients_by_finite_differences():
    s, t = draw(2, 3).requires_grad_(), draw(2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(density_distillation, (s, t))


def test_extremes_and_half_precision():
    s = torch.full((1, 2), 1e4)
    assert density_distillation(s, -s).item() == pytest.approx(-4)
    assert density_distillation(s.half(), -s.half()).dtype == torch.float32
    assert math.isnan(density_distillation(s * math.nan, s).item())


def test_shapes_that_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        density_distillation(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="one shape"):
        density_distillation(torch.zeros(2, 3, 1), torch.zeros(2, 3, 1))
