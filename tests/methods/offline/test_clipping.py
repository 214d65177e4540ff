"""The clipped gradient of KD-SVD and MHGD, parameter by parameter, against gradients apart."""

import math

import pytest
import torch
from torch import nn

import kdnb
from kdnb import nets
from kdnb.methods.catalogue import METHODS
from kdnb.methods.offline.clipping import clipped, share


def gradients(loss, parameters):
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_no_parameter_hears_the_term_louder_than_the_labels(size):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    unread = nn.Parameter(torch.ones(2))  # of the student, and of neither loss
    student.register_parameter("unread", unread)
    adapter, inputs = nn.Linear(5, 2), torch.randn(6, 4)
    hidden = student[:2](inputs)
    term = size * adapter(hidden).square().sum()
    hard = nn.functional.cross_entropy(student[2](hidden), torch.arange(6) % 3)
    value = clipped(term, hard, student, adapter, 0.5)
    assert value.item() == pytest.approx(term.item())
    ours, labels, whole = (gradients(loss, [*student.parameters()]) for loss in (value, hard, term))
    for got, label, free in zip(ours, labels, whole, strict=True):
        limit = 0.5 * label.norm()
        expected = free * min(1.0, float(limit / free.norm())) if free.norm() > 0 else free
        torch.testing.assert_close(got, expected)
    learnt = [*adapter.parameters()]
    for got, free in zip(gradients(value, learnt), gradients(term, learnt), strict=True):
        torch.testing.assert_close(got, free)


def test_the_share_rises_as_the_authors_sigmoid_over_any_budget():
    assert share(0, 100) == share(0, 4) == 0.5
    assert share(3, 100) == pytest.approx(1 / (1 + math.exp(-3)))
    assert share(3, 100) == share(6, 200)
    assert share(2, 4) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["kdsvd", "mhgd"])
def test_even_a_huge_weight_leaves_the_labels_heard(name):
    """Both papers' code clips; without it a weight of a million drowned the labels."""
    assert METHODS[name].wire.clipped
    torch.manual_seed(0)
    nets_of = {"num_classes": 3, "in_channels": 3, "image_size": 8}
    student = nets.build("resnet8", width=0.25, **nets_of)
    teacher = nets.build("resnet8", width=0.5, **nets_of)
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 3
    loss = kdnb.Criterion(name, student, teacher, (images, labels), weight=1e6)
    if name == "mhgd":
        loss.prepare((images, labels), batch_size=8)
    total = loss(images, labels)
    got = gradients(total, [*student.parameters()])
    hard = nn.functional.cross_entropy(student(images), labels)
    for whole, label in zip(got, gradients(hard, [*student.parameters()]), strict=True):
        assert (whole - label).norm() <= 0.5 * label.norm() * 1.01 + 1e-6


@pytest.mark.parametrize("name", ["kdsvd", "mhgd"])
def test_half_precision_clips_too(name):
    """Fabric refuses gradients that are not asked for through it."""
    torch.manual_seed(0)
    nets_of = {"num_classes": 3, "in_channels": 3, "image_size": 8}
    student = nets.build("resnet8", width=0.25, **nets_of)
    teacher = nets.build("resnet8", width=0.5, **nets_of)
    pairs = torch.randn(16, 3, 8, 8), torch.arange(16) % 3
    fit = kdnb.distil(
        student, teacher, pairs, method=name, weight=1.0, epochs=2, batch_size=8, lr=0.01,
        precision="bf16",
    )  # fmt: skip
    assert math.isfinite(fit.history[name].iloc[-1])
