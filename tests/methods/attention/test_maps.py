"""Feature matching, channels and guided targets as methods of `kdnb.distil`."""

import copy

import pytest
import torch
from torch import nn

import kdnb
from kdnb import losses
from kdnb.methods.attention import CHANNELS, FEATURE_MATCHING, GUIDED
from kdnb.nets import build

IMAGES = torch.randn(12, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 10
ONE = {"epochs": 1, "batch_size": 12, "lr": 1e-6, "precision": "32"}


def net(seed, name="tiny", **options):
    torch.manual_seed(seed)
    return build(name, **options)


def terms_of(method, student, teacher, **options):
    fit = kdnb.distil(
        student, teacher, (IMAGES, LABELS), method=method, weight=1.0, **ONE, **options
    )
    row = fit.history.iloc[0]
    return fit, row.drop(["epoch", "lr", "seconds", "hard"]).sum()


def test_the_published_weight_is_the_methods():
    assert (FEATURE_MATCHING.weight, GUIDED.weight, CHANNELS.weight) == (200.0, 1.0, None)
    assert {one.section for one in (FEATURE_MATCHING, GUIDED, CHANNELS)} == {"5.5"}


def test_guided_targets_by_hand():
    student, teacher = net(0), net(1)
    teacher.eval()
    with torch.no_grad():
        expected = losses.guided_targets(
            copy.deepcopy(student)(IMAGES), teacher(IMAGES), LABELS, 2.0
        )
    _, value = terms_of(GUIDED, student, teacher, temperature=2.0)
    assert value == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


def test_channels_of_equal_networks_agree():
    """LeNet has no batch normalisation, so that both modes are the same."""
    teacher = net(0, "lenet5").eval()
    student = copy.deepcopy(teacher)
    fit, value = terms_of(CHANNELS, student, teacher)
    assert value < 1e-8
    assert not [m for m in (fit.learnt or nn.Module()).modules() if isinstance(m, nn.Conv2d)]


def test_feature_matching_keeps_its_attention():
    student, teacher = net(0), net(1)
    fit, value = terms_of(FEATURE_MATCHING, student, teacher)
    assert value > 0
    module = next(m for m in fit.learnt.modules() if hasattr(m, "attention"))
    assert module.attention.ndim == 2
    torch.testing.assert_close(module.attention.sum(1), torch.ones(len(module.attention)))


def test_other_widths_are_adapted():
    fit, value = terms_of(CHANNELS, net(0, "resnet8"), net(1, "resnet8x4").eval())
    assert value > 0
    assert [m for m in fit.learnt.modules() if isinstance(m, nn.Conv2d)]
