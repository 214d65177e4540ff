"""Quantization mimic: by loops, what rounding hides, and the gradient that passes through it."""

import pytest
import torch
from draws import MAPS, draw

from kdnb import losses


def by_loops(student, teacher, step):
    total, count = 0.0, 0
    for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        total += (step * round(s / step) - step * round(t / step)) ** 2
        count += 1
    return total / count


@pytest.mark.parametrize("step", [0.1, 0.5, 3.0])
def test_the_loss_by_loops(step):
    s, t = draw(*MAPS), draw(*MAPS, seed=1)
    found = losses.quantization_mimic(s, t, step)
    assert float(found) == pytest.approx(by_loops(s, t, step), rel=1e-10)


def test_maps_that_round_alike_are_alike():
    t = draw(*MAPS)
    rounded = (t / 0.5).round() * 0.5
    moved = rounded + 0.24 * torch.sign(draw(*MAPS, seed=2))
    assert losses.quantization_mimic(moved, t, 0.5) == 0


def test_a_fine_step_is_the_plain_mimic():
    s, t = draw(*MAPS), draw(*MAPS, seed=1)
    plain = (s - t).square().mean()
    assert float(losses.quantization_mimic(s, t, 1e-6)) == pytest.approx(float(plain), rel=1e-5)


def test_the_gradient_passes_straight_through():
    s, t = draw(*MAPS).requires_grad_(), draw(*MAPS, seed=1)
    (gradient,) = torch.autograd.grad(losses.quantization_mimic(s, t, 0.5), s)
    rounded = [(value.detach() / 0.5).round() * 0.5 for value in (s, t)]
    torch.testing.assert_close(gradient, 2 * (rounded[0] - rounded[1]) / s.numel())


def test_scale_and_step_go_together():
    s, t = draw(*MAPS), draw(*MAPS, seed=1)
    scaled = losses.quantization_mimic(4 * s, 4 * t, 2.0)
    torch.testing.assert_close(scaled, 16 * losses.quantization_mimic(s, t, 0.5))


def test_wrong_arguments_are_named():
    s = draw(*MAPS)
    with pytest.raises(ValueError, match="step must be a finite number above 0"):
        losses.quantization_mimic(s, s, 0.0)
    with pytest.raises(ValueError, match="1x1 convolution|same"):
        losses.quantization_mimic(s, draw(3, 5, 5, 2))
