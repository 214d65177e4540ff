"""Variational information against loops; its regressor."""

import math

import pytest
import torch
from draws import MAPS, draw, draw32
from loops import AXES, naive_sum
from torch.autograd import gradcheck

from kdnb import losses


def trains(module, loss):
    """Every parameter takes part in the loss, and with a finite gradient."""
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    return True


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_variational_information_against_loops(variant):
    mean, teacher, raw = draw(*MAPS), draw(*MAPS, seed=1), draw(4, seed=2, scale=3)
    variance = [math.log(1 + math.exp(a)) + 1e-5 for a in raw.tolist()]

    def term(s, t, c):
        return math.log(math.sqrt(variance[c])) + (t - s) ** 2 / (2 * variance[c])

    expected = naive_sum(mean, teacher, term) / (len(AXES) if variant == "authors" else 1)
    value = losses.variational_information(mean, teacher, raw, variant=variant)
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_variational_softplus_does_not_overflow():
    mean, teacher = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    raw = torch.tensor([1e4, -1e4, 500.0], requires_grad=True)
    loss = losses.variational_information(mean, teacher, raw)
    (gradient,) = torch.autograd.grad(loss, raw)
    expected = sum(math.log(v) / 2 + 1 / (2 * v) for v in (1e4, 1e-5, 500.0))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert torch.isfinite(gradient).all()
    assert gradient[0].item() == pytest.approx(5e-5, rel=1e-3)


def test_variational_regressor():
    student, teacher = draw32(3, 4, 6, 4), draw32(3, 5, 3, 5, seed=1)
    regressor = losses.VariationalRegressor(student.shape, teacher.shape)
    start = torch.nn.functional.softplus(regressor.raw_variance.detach()) + 1e-5
    torch.testing.assert_close(start, torch.full((5,), 5.0))
    assert trains(regressor, regressor(student, teacher))
    large = losses.VariationalRegressor((4, 2, 2), (5, 2, 2), 1e4)
    assert torch.isfinite(large(draw32(2, 4, 2, 2), draw32(2, 5, 2, 2)))
    with pytest.raises(ValueError, match="initial_variance must be above"):
        losses.VariationalRegressor((4, 2, 2), (5, 2, 2), 0.0)


def test_gradients_of_the_variance():
    maps, raw = (draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)), draw(4, seed=2).requires_grad_()
    assert gradcheck(lambda a: losses.variational_information(*maps, a), (raw,))
