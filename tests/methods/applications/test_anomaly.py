"""Uninformed students: what they have never seen, and the scales of normal images."""

import pytest
import torch
from torch import nn

from kdnb import Recipe
from kdnb.methods.applications.anomaly import uninformed_students
from kdnb.training.metrics import ranking_area

PLAN = Recipe(epochs=15, batch_size=16, optimiser="adam", lr=0.01, precision="32")


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 3, 1)
    )


def stripes(count, upright, seed=0):
    generator = torch.Generator().manual_seed(seed)
    wave = torch.sin(torch.arange(12.0) + 6 * torch.rand(count, 1, generator=generator))
    images = wave[:, None, None, :].expand(-1, 1, 12, -1)
    images = images if upright else images.transpose(2, 3)
    return images + 0.05 * torch.randn(count, 1, 12, 12, generator=generator)


@pytest.fixture(scope="module")
def detector():
    students = [net(seed) for seed in (1, 2, 3)]
    return uninformed_students(net(0), students, stripes(64, True), stripes(32, True, 1), PLAN)


def test_stripes_of_another_direction_are_found(detector):
    images = torch.cat([stripes(40, True, 2), stripes(40, False, 3)])
    strange = torch.arange(80) // 40
    assert ranking_area(detector.scores(images), strange) > 0.9
    error, disagreement = detector.maps(images)
    assert ranking_area(error.mean((1, 2)), strange) > 0.9 and disagreement.min() >= 0


def test_places_say_where(detector):
    image = stripes(30, True, 4)
    image[:, :, :, 6:] = stripes(30, False, 5)[:, :, :, 6:]
    places = detector.places(image).mean(0)
    half = places.shape[1] // 2
    assert places[:, half + 1 :].mean() > places[:, : half - 1].mean() + 1


def test_scales_are_those_of_held_out_normal_images(detector):
    for found, (mean, sd) in zip(detector.maps(stripes(32, True, 1)), detector.scales, strict=True):
        assert found.mean().item() == pytest.approx(mean, rel=1e-4)
        assert found.std().item() == pytest.approx(sd, rel=1e-4)
    assert detector.places(stripes(32, True, 1)).mean().item() == pytest.approx(0, abs=1e-4)


def test_the_teacher_is_left_as_it_was():
    teacher = net(0)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    brief = PLAN.model_copy(update={"epochs": 1})
    uninformed_students(teacher, [net(1)], stripes(16, True), stripes(16, True, 1), brief)
    assert teacher.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
