"""DeepInversion on a teacher with batch normalisation."""

import data_free_workshop as workshop
import pytest
import torch
from normalised_teacher import LABELS, teacher
from torch import nn
from torch.nn import functional as F

from kdnb.methods.data_free import (
    batch_norm_inputs,
    deep_inversion,
    statistics_term,
)
from kdnb.runs.functions import banks
from kdnb.runs.functions.banks import inversion_trial


def gap(network, images):
    with torch.no_grad(), batch_norm_inputs(network) as inputs:
        network(images)
        return float(statistics_term(inputs))


def test_inversion_finds_classes_and_statistics():
    network = teacher()
    start = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"iterations": 60, "lr": 0.1, "jitter": 0}
    images = deep_inversion(network, LABELS, (1, 8, 8), **options)
    assert gap(network, images) < 0.3 * gap(network, start)
    classes = deep_inversion(network, LABELS, (1, 8, 8), weights={"class": 1.0}, **options)
    assert (network(classes).argmax(1) == LABELS).all()
    assert gap(network, images) < gap(network, classes)


def test_the_images_of_the_lowest_loss_are_kept():
    """A rate so high that the loss swings: the last images are not the best."""
    network = teacher()
    options = {"weights": {"statistics": 1.0}, "lr": 2.0, "jitter": 0}
    shape = (1, 8, 8)
    start = torch.randn(12, *shape, generator=torch.Generator().manual_seed(0))
    gaps = [gap(network, start)]
    for steps in range(1, 13):
        images = deep_inversion(network, LABELS, shape, iterations=steps, keep="last", **options)
        gaps.append(gap(network, images))
    best = deep_inversion(network, LABELS, shape, iterations=12, **options)
    assert gap(network, best) == pytest.approx(min(gaps[:12]), rel=1e-4)
    assert gaps[12] > 1.05 * min(gaps[:12])
    with pytest.raises(ValueError, match="keep must be one of best, last; got 'first'"):
        deep_inversion(network, LABELS, shape, keep="first")


def test_a_bank_that_does_not_say_holds_the_last_images(monkeypatch, tmp_path):
    """The first form, of which the record is; `keep` asks for today's."""
    source = workshop.guarded_mnist(monkeypatch)
    asked = []

    def made(master, labels, shape, *, keep, **options):
        asked.append(keep)
        return torch.zeros(len(labels), *shape)

    monkeypatch.setattr(banks, "deep_inversion", made)
    options = {"data": {"name": "mnist"}, "teacher": workshop.teacher_trial(source),
               "batch_size": 10, "images": 10}  # fmt: skip
    for more in ({}, {"keep": "best"}):
        inversion_trial(workshop.context(tmp_path), 0, **options, **more)
    assert asked == ["last", "best"]


def test_variation_makes_images_smooth():
    def roughness(weight):
        images = deep_inversion(
            teacher(), LABELS, (1, 8, 8), weights={"class": 1.0, "variation": weight},
            iterations=30, lr=0.1,
        )  # fmt: skip
        return float((images[..., 1:] - images[..., :-1]).square().mean())

    assert roughness(0.5) < 0.3 * roughness(0.0)


def test_competition_drives_the_student_away():
    network, student = teacher(), workshop.small_net(2)

    def agreement(weight):
        images = deep_inversion(
            network, LABELS, (1, 8, 8), student=student, iterations=40, lr=0.1, temperature=1.0,
            weights={"class": 1.0, "compete": weight},
        )  # fmt: skip
        with torch.no_grad():
            return float((F.softmax(student(images), 1) * F.softmax(network(images), 1)).sum())

    assert agreement(10.0) < agreement(0.0)


def test_the_networks_are_left_as_they_were():
    network = teacher()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    deep_inversion(network, LABELS, (1, 8, 8), iterations=2)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not network[1]._forward_pre_hooks


def test_inversion_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="no BatchNorm2d with running statistics to invert"):
        deep_inversion(workshop.small_net(0), LABELS, (1, 8, 8), iterations=1)
    with pytest.raises(ValueError, match="the competition needs a student"):
        deep_inversion(teacher(), LABELS, (1, 8, 8), weights={"compete": 1.0})
    with pytest.raises(ValueError, match="there is no term 'style'"):
        deep_inversion(teacher(), LABELS, (1, 8, 8), weights={"style": 1.0})


def test_the_trial_never_touches_the_training_set(monkeypatch, tmp_path):
    source = workshop.guarded_mnist(monkeypatch)
    options = {
        "data": {"name": "mnist"},
        "teacher": workshop.teacher_trial(source, name="resnet8"),
        "batch_size": 10,
        "image_size": 28,
        "iterations": 2,
    }
    made = inversion_trial(workshop.context(tmp_path), 0, images=10, **options)
    assert made.tensors["bank.images"].shape == (10, 1, 28, 28)
    adaptive = inversion_trial(
        workshop.context(tmp_path), 0, images=10, student=workshop.teacher_trial(source),
        weights={"class": 1.0, "compete": 1.0}, **options,
    )  # fmt: skip
    assert adaptive.metrics["images"] == 10
    with pytest.raises(ValueError, match="multiple of batch_size; got 15, 10"):
        inversion_trial(workshop.context(tmp_path), 0, images=15, **options)


def test_statistics_are_those_of_the_layers_inputs():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()
    for part in (network[0], network[2]):
        part.running_mean.normal_()
        part.running_var.uniform_(0.5, 2)
    images = torch.randn(4, 2, 3, 3)
    with batch_norm_inputs(network) as inputs:
        network(images)
        found = statistics_term(inputs)
    with torch.no_grad():
        inner = network[1](network[0](images))
    expected = 0.0
    for layer, maps in ((network[0], images), (network[2], inner)):
        values = maps.transpose(0, 1).flatten(1)
        mean, variance = values.mean(1), ((values - values.mean(1, True)) ** 2).mean(1)
        expected += ((mean - layer.running_mean) ** 2).sum().sqrt()
        expected += ((variance - layer.running_var) ** 2).sum().sqrt()
    torch.testing.assert_close(found, expected)


def test_a_network_without_normalisation_is_refused():
    with (
        pytest.raises(ValueError, match="has no BatchNorm2d with running statistics"),
        batch_norm_inputs(nn.Linear(2, 2)),
    ):
        pass
