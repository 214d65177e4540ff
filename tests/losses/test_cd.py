"""Channel distillation, guided soft targets and their decay, against loops."""

import pytest
import torch
from draws import draw, draw_wide
from loops import flat, kl, softmax
from torch import nn

from kdnb import losses


def test_channel_distillation_against_loops():
    student, teacher = draw(3, 4, 5, 2), draw(3, 4, 3, 3, seed=1)
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        for a, b in zip(flat(s), flat(t), strict=True):
            total += (sum(a) / len(a) - sum(b) / len(b)) ** 2 / 12
    assert losses.channel_distillation(student, teacher).item() == pytest.approx(total, rel=1e-10)


def test_positions_are_of_no_account():
    student, teacher = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
    mixed = student.flatten(2)[..., torch.randperm(16)].view_as(student)
    assert losses.channel_distillation(mixed, teacher).item() == pytest.approx(
        losses.channel_distillation(student, teacher).item()
    )


def test_it_is_not_free_of_scale_and_the_connector_centres_it():
    """Unlike AT: twice the maps is four times the loss; batch normalisation makes means 0."""
    student, teacher = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
    value = losses.channel_distillation(student, teacher)
    assert losses.channel_distillation(2 * student, 2 * teacher).item() == pytest.approx(
        4 * value.item()
    )
    connector = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).double()
    assert connector(student).mean((0, 2, 3)).abs().max() < 1e-9


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_guided_targets_against_loops(temperature):
    student, teacher, labels = (
        draw_wide(6, 4),
        draw_wide(6, 4, seed=1),
        torch.tensor([0, 1, 2, 3, 0, 1]),
    )
    labels[:3] = teacher[:3].argmax(1)
    terms = [
        kl(softmax(v, temperature), softmax(z, temperature))
        for z, v, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True)
        if max(range(4), key=v.__getitem__) == y
    ]
    expected = temperature**2 * sum(terms) / len(terms)
    value = losses.guided_targets(student, teacher, labels, temperature)
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_a_teacher_that_is_always_right_gives_soft_targets_and_one_that_never_is_gives_nothing():
    student, teacher = draw_wide(6, 4).requires_grad_(), draw_wide(6, 4, seed=1)
    right = teacher.argmax(1)
    assert losses.guided_targets(student, teacher, right, 3.0).item() == pytest.approx(
        losses.soft_targets(student, teacher, 3.0).item()
    )
    nothing = losses.guided_targets(student, teacher, (right + 1) % 4, 3.0)
    nothing.backward()
    assert nothing.item() == 0
    assert not student.grad.any()


def test_the_teacher_s_weight_decays():
    found = [losses.early_decay(epoch) for epoch in (0, 29, 30, 90)]
    assert found == pytest.approx([1.0, 1.0, 0.9, 0.729])
