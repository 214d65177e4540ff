"""CTKD: the learned temperature, its reversed gradient and its curriculum."""

import math

import pytest
import torch
from draws import draw, draw_wide, labels_of

from kdnb.losses import (
    CurriculumTemperature,
    InstanceTemperature,
    curriculum_weight,
    decoupled_kd,
    normalized_kd,
    pearson_distillation,
    reverse_gradient,
    soft_targets,
    standardized_soft_targets,
    transformed_teacher,
)


def lively(classes=5, **options):
    """A per-sample temperature whose last layer has moved off its zeros."""
    torch.manual_seed(0)
    module = InstanceTemperature(classes, hidden=7, **options).double()
    torch.nn.init.normal_(module.prediction[2].weight)
    return module


def per_sample_kd(student, teacher, temperature):
    """Hinton's loss with a temperature (batch, 1) of each sample, written out."""
    p, log_q = (teacher / temperature).softmax(1), (student / temperature).log_softmax(1)
    rows = (p * (p.log() - log_q)).sum(1, keepdim=True)
    return (temperature**2 * rows).mean()


PER_SAMPLE = {
    "kd": soft_targets,
    "dkd": lambda s, t, tau: decoupled_kd(s, t, torch.zeros(len(s), dtype=torch.long), tau),
    "nkd": lambda s, t, tau: normalized_kd(s, t, torch.zeros(len(s), dtype=torch.long), tau),
    "lskd": standardized_soft_targets,
    "wttm": transformed_teacher,
}


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
    value = draw_wide(3).requires_grad_()
    turned = reverse_gradient(value, 0.25)
    torch.testing.assert_close(turned, value)
    (gradient,) = torch.autograd.grad((turned**2).sum(), value)
    torch.testing.assert_close(gradient, -0.5 * value)


@pytest.mark.parametrize("name", ["kd", "dkd", "lskd", "wttm", "dist"])
def test_temperature_climbs_where_the_student_descends(name):
    """The module's gradient is -λ times the true one of the loss, by finite differences."""
    student, teacher = draw_wide(4, 6).requires_grad_(), draw_wide(4, 6, seed=1)
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
    soft_targets(draw_wide(2, 3).float(), draw_wide(2, 3, seed=1).float(), module(0.0)).backward()
    assert module.prediction.grad == 0


def test_samples_start_at_the_global_temperature_and_then_differ():
    student, teacher = draw_wide(6, 5), draw_wide(6, 5, seed=1)
    for options in ({}, {"lowest": 0.5, "span": 3.0, "start": -2.0}):
        common = CurriculumTemperature(**options)(1.0).item()
        start = InstanceTemperature(5, **options).double()(1.0, student, teacher)
        assert start.shape == (6, 1)
        torch.testing.assert_close(start.detach(), torch.full_like(start, common))
    module = lively(lowest=2.0, span=3.0)
    temperatures = module(1.0, student, teacher).flatten()
    assert len(set(temperatures.tolist())) == 6
    assert ((temperatures >= 2) & (temperatures <= 5)).all()
    alone = module(1.0, student[3:4], teacher[3:4])
    torch.testing.assert_close(alone.flatten(), temperatures[3:4])
    assert not torch.allclose(module(1.0, teacher, student).flatten(), temperatures)


def test_per_sample_temperature_climbs_where_the_student_descends():
    """Every parameter's gradient is -λ times the true one; the student's knows no detour."""
    module = lively()
    student, teacher = draw_wide(4, 5).requires_grad_(), draw_wide(4, 5, seed=1)
    loss = per_sample_kd(student, teacher, module(0.3, student, teacher))
    parameters = list(module.parameters())
    *reversed_, into_student = torch.autograd.grad(loss, [*parameters, student])
    for parameter, gradient in zip(parameters, reversed_, strict=True):
        for place in range(0, parameter.numel(), 3):
            values = []
            for shift in (1e-5, -2e-5, 1e-5):
                with torch.no_grad():
                    parameter.view(-1)[place] += shift
                    values.append(per_sample_kd(student, teacher, module(1.0, student, teacher)))
            slope = (values[0] - values[1]).item() / 2e-5
            assert gradient.view(-1)[place].item() == pytest.approx(
                -0.3 * slope, rel=1e-4, abs=1e-7
            )
    fixed = module(0.3, student, teacher).detach()
    plain = torch.autograd.grad(per_sample_kd(student, teacher, fixed), student)[0]
    torch.testing.assert_close(into_student, plain)


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_losses_take_a_temperature_for_each_sample(name):
    """They are the mean of the samples' losses, each at its own temperature."""
    loss, student, teacher = PER_SAMPLE[name], draw_wide(4, 5), draw_wide(4, 5, seed=1)
    temperatures = torch.tensor([[1.0], [2.5], [4.0], [0.7]], dtype=torch.float64)
    alone = [loss(student[b : b + 1], teacher[b : b + 1], temperatures[b].item()) for b in range(4)]
    got = loss(student, teacher, temperatures)
    assert got.shape == ()
    torch.testing.assert_close(got, torch.stack(alone).mean())
    same = torch.full_like(temperatures, 2.5)
    torch.testing.assert_close(loss(student, teacher, same), loss(student, teacher, 2.5))


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_dist_takes_a_temperature_for_each_sample(variant):
    student, teacher = draw_wide(4, 5), draw_wide(4, 5, seed=1)
    same = torch.full((4, 1), 2.5, dtype=torch.float64)
    got = pearson_distillation(student, teacher, same, variant=variant)
    assert got.shape == ()
    torch.testing.assert_close(got, pearson_distillation(student, teacher, 2.5, variant=variant))


@pytest.mark.parametrize("name", [*PER_SAMPLE, "dist"])
def test_losses_refuse_other_shapes_of_temperatures(name):
    """(batch,) would be taken for one number for each class."""
    loss = {**PER_SAMPLE, "dist": pearson_distillation}[name]
    student, teacher = draw_wide(4, 4), draw_wide(4, 4, seed=1)
    for shape in ((4,), (3, 1), (1, 4)):
        with pytest.raises(ValueError, match=r"one number or have shape \(4, 1\)"):
            loss(student, teacher, torch.ones(shape))
    with pytest.raises(ValueError, match="finite number above 0"):
        loss(student, teacher, torch.tensor([[1.0], [1.0], [0.0], [1.0]]))


def test_ascent_raises_the_loss_and_a_weight_of_zero_rests():
    module = lively()
    student, teacher = draw_wide(8, 5), draw_wide(8, 5, seed=1)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    before = per_sample_kd(student, teacher, module(1.0, student, teacher)).item()
    for _ in range(20):
        optimiser.zero_grad()
        per_sample_kd(student, teacher, module(1.0, student, teacher)).backward()
        optimiser.step()
    assert per_sample_kd(student, teacher, module(1.0, student, teacher)).item() > before
    optimiser.zero_grad()
    per_sample_kd(student, teacher, module(0.0, student, teacher)).backward()
    assert all((value.grad == 0).all() for value in module.parameters())


def test_both_temperatures_are_called_alike():
    student, teacher = draw_wide(3, 5).half(), draw_wide(3, 5, seed=1).half()
    for module in (CurriculumTemperature(), InstanceTemperature(5)):
        temperature = module(0.5, student, teacher)
        assert temperature.dtype == torch.float32
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(module(0.5, student, teacher), temperature)


def test_wrong_per_sample_temperatures():
    module = InstanceTemperature(5)
    with pytest.raises(ValueError, match="built for 5 classes; got 4"):
        module(1.0, torch.zeros(2, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"student_logits \(2, 5\) and teacher_logits \(3, 5\)"):
        module(1.0, torch.zeros(2, 5), torch.zeros(3, 5))
    for sizes in ((0, 8), (5, 0)):
        with pytest.raises(
            ValueError, match="(classes|hidden) must be at least 1, a whole number; got 0"
        ):
            InstanceTemperature(*sizes)
    for options in ({"lowest": 0.0}, {"span": -1.0}, {"start": math.nan}):
        with pytest.raises(ValueError, match="(lowest|span|start) must be a finite number"):
            InstanceTemperature(5, **options)


def test_wrong_curricula():
    for epoch, ramp in ((-1, 10), (1, 0), (math.nan, 10)):
        with pytest.raises(
            ValueError, match="epoch must be at least 0|ramp_epochs must be a finite number above 0"
        ):
            curriculum_weight(epoch, ramp)
    for options in ({"lowest": 0.0}, {"span": -1.0}, {"start": math.nan}):
        with pytest.raises(ValueError, match="(lowest|span|start) must be a finite number"):
            CurriculumTemperature(**options)


def test_the_gradient_turns_round():
    x = draw(3, 2).requires_grad_()
    y = reverse_gradient(x, 0.7)
    assert torch.equal(y, x)
    (gradient,) = torch.autograd.grad((y**3).sum(), x)
    torch.testing.assert_close(gradient, -0.7 * 3 * x.detach() ** 2)
    (nothing,) = torch.autograd.grad(reverse_gradient(x, 0.0).sum(), x)
    assert (nothing == 0).all()
    with pytest.raises(ValueError, match="at least 0; got -1"):
        reverse_gradient(x, -1.0)
