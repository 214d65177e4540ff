"""CTKD: the learned temperature, its reversed gradient and its curriculum."""

import math
from functools import partial

import draws
import pytest
import torch

from kdnb.losses import soft_targets
from kdnb.losses.logits import (
    CurriculumTemperature,
    curriculum_weight,
    decoupled_kd,
    pearson_distillation,
    reverse_gradient,
    standardized_soft_targets,
    transformed_teacher,
)

draw = partial(draws.draw, scale=3.0)


def labels_of(logits):
    return torch.arange(len(logits)) % logits.shape[1]


@pytest.mark.parametrize("epoch", [0, 1, 3.5, 10, 240])
def test_curriculum_weight_against_the_formula(epoch):
    turn = math.pi * (1 + min(epoch, 10) / 10)
    assert curriculum_weight(epoch) == pytest.approx((1 + math.cos(turn)) / 2, abs=1e-15)
    assert curriculum_weight(epoch, 10, 0.2, 0.6) == pytest.approx(
        0.2 + 0.4 * curriculum_weight(epoch)
    )


def test_curriculum_weight_rises():
    weights = [curriculum_weight(epoch, 20) for epoch in range(25)]
    assert weights == sorted(weights)
    assert weights[0] == 0
    assert weights[20:] == [1.0] * 5


def test_the_gradient_is_reversed_and_the_value_kept():
    value = draw(3).requires_grad_()
    turned = reverse_gradient(value, 0.25)
    torch.testing.assert_close(turned, value)
    (gradient,) = torch.autograd.grad((turned**2).sum(), value)
    torch.testing.assert_close(gradient, -0.5 * value)


@pytest.mark.parametrize("name", ["kd", "dkd", "lskd", "wttm", "dist"])
def test_temperature_climbs_where_the_student_descends(name):
    """The module's gradient is -λ times the true one of the loss, by finite differences."""
    student, teacher = draw(4, 6).requires_grad_(), draw(4, 6, seed=1)
    losses = {
        "kd": lambda t: soft_targets(student, teacher, t),
        "dkd": lambda t: decoupled_kd(student, teacher, labels_of(student), t),
        "lskd": lambda t: standardized_soft_targets(student, teacher, t),
        "wttm": lambda t: transformed_teacher(student, teacher, t),
        "dist": lambda t: pearson_distillation(student, teacher, t),
    }
    module = CurriculumTemperature(lowest=1.0, span=20.0, start=-1.0).double()
    loss = losses[name](module(0.3))
    assert loss.shape == ()
    theta, into_student = torch.autograd.grad(loss, [module.prediction, student])
    ends = [1 + 20 / (1 + math.exp(1.0 - step)) for step in (1e-5, -1e-5)]
    slope = (losses[name](ends[0]) - losses[name](ends[1])).item() / 2e-5
    assert theta.item() == pytest.approx(-0.3 * slope, rel=1e-5)
    plain = losses[name](1 + 20 / (1 + math.exp(1.0)))
    torch.testing.assert_close(into_student, torch.autograd.grad(plain, student)[0])


def test_temperature_module_stays_in_its_range_and_can_rest():
    for start in (-50.0, 0.0, 50.0):
        assert 1 <= CurriculumTemperature(start=start)(1.0).item() <= 21
    module = CurriculumTemperature()
    assert [name for name, _ in module.named_parameters()] == ["prediction"]
    soft_targets(draw(2, 3).float(), draw(2, 3, seed=1).float(), module(0.0)).backward()
    assert module.prediction.grad == 0


def test_wrong_curricula():
    for epoch, ramp in ((-1, 10), (1, 0), (math.nan, 10)):
        with pytest.raises(ValueError, match="epoch must be at least 0 and ramp_epochs above 0"):
            curriculum_weight(epoch, ramp)
    for options in ({"lowest": 0.0}, {"span": -1.0}, {"start": math.nan}):
        with pytest.raises(ValueError, match="lowest and span must be finite numbers above 0"):
            CurriculumTemperature(**options)
