"""TTM and WTTM by loops, and equation 15."""

import pytest
import torch
from draws import draw_wide
from loops import kl, rows, softmax

from kdnb.losses import (
    soft_targets,
    transformed_teacher,
)

SHAPES = [(1, 2), (7, 10), (3, 25)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_wttm_against_loops(shape, temperature):
    student, teacher = draw_wide(*shape), draw_wide(*shape, seed=1)
    weighted = plain = 0.0
    for z, v in rows(student, teacher):
        powers = [probability ** (1 / temperature) for probability in softmax(v)]
        divergence = kl([power / sum(powers) for power in powers], softmax(z)) / shape[0]
        plain += divergence
        weighted += sum(powers) * divergence
    ours = transformed_teacher(student, teacher, temperature)
    assert ours.item() == pytest.approx(weighted, rel=1e-9)
    ours = transformed_teacher(student, teacher, temperature, weighted=False)
    assert ours.item() == pytest.approx(plain, rel=1e-9)


def test_ttm_is_kd_with_a_renyi_entropy():
    """Zheng and Yang 2024, equation 15."""
    student, teacher, temperature = draw_wide(6, 8), draw_wide(6, 8, seed=1), 3.0
    q, soft = student.softmax(1), (teacher / temperature).softmax(1)
    order = 1 / temperature
    renyi = q.pow(order).sum(1).log() / (1 - order)
    shannon = -(soft * soft.log()).sum(1)
    kd = soft_targets(student, teacher, temperature) / temperature
    expected = kd + (temperature - 1) * (shannon - renyi).mean()
    ours = transformed_teacher(student, teacher, temperature, weighted=False)
    torch.testing.assert_close(ours, expected)


def test_wttm_weighs_a_sharp_teacher_by_one_and_a_flat_one_most():
    sharp, flat = torch.tensor([[1e3, 0.0, 0.0, 0.0]]), torch.zeros(1, 4)
    student = draw_wide(1, 4).float()
    for teacher, weight in ((sharp, 1.0), (flat, 4 ** (1 - 1 / 2.0))):
        ratio = transformed_teacher(student, teacher, 2.0) / transformed_teacher(
            student, teacher, 2.0, weighted=False
        )
        assert ratio.item() == pytest.approx(weight, rel=1e-6)


def test_ttm_is_matched_by_the_softened_teacher():
    teacher = draw_wide(4, 6)
    for weighted in (True, False):
        student = (teacher / 3.0 + 2.0).requires_grad_()
        loss = transformed_teacher(student, teacher, 3.0, weighted)
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert gradient.abs().max() < 1e-12
