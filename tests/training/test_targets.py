"""Labels of any kind in the verbs: one logit a sample, real values, several classes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import kdnb

N = 24
QUICK = {"epochs": 1, "batch_size": N, "lr": 0.05, "precision": "32", "momentum": 0.0}
BINARY = F.binary_cross_entropy_with_logits


class Flat(nn.Module):
    """One logit a sample, (batch,), or (batch, 1)."""

    def __init__(self, seed=0, flat=True):
        super().__init__()
        torch.manual_seed(seed)
        self.linear, self.flat = nn.Linear(5, 1), flat

    def forward(self, x):
        return self.linear(x).squeeze(-1) if self.flat else self.linear(x)


def inputs():
    return torch.randn(N, 5, generator=torch.Generator().manual_seed(0))


def net(seed=0, outputs=3):
    torch.manual_seed(seed)
    return nn.Linear(5, outputs)


@pytest.mark.parametrize("kind", ["whole", "real"])
def test_one_logit_may_have_no_axis_of_its_own(kind):
    labels = torch.arange(N) % 2 if kind == "whole" else (torch.arange(N) % 4) / 3
    data = inputs(), labels
    hard = BINARY(Flat()(inputs()), labels.float()).item()
    fit = kdnb.train(Flat(), data, **QUICK)
    assert fit.history.hard[0] == pytest.approx(hard, rel=1e-5)
    found = {flat: kdnb.distil(Flat(0, flat), Flat(1, flat), data, **QUICK) for flat in (0, 1)}
    for column in ("hard", "kd"):
        one, two = (fit.history[column][0] for fit in found.values())
        assert one == pytest.approx(two, rel=1e-6)
    peers = {
        flat: kdnb.mutual([Flat(0, flat), Flat(1, flat)], data, **QUICK).history for flat in (0, 1)
    }
    for column in ("peer0.soft", "peer1.hard"):
        assert peers[0][column][0] == pytest.approx(peers[1][column][0], rel=1e-6)
    kdnb.born_again(Flat, data, generations=1, **QUICK)
    criterion = kdnb.Criterion("kd", Flat(0), Flat(1), data)
    assert criterion(*data).item() == pytest.approx(
        kdnb.Criterion("kd", Flat(0, 0), Flat(1, 0), data)(*data).item(), rel=1e-6
    )
    if kind == "whole":
        measured = kdnb.evaluate(Flat(), data, teacher=Flat(1))
        assert measured["errors"] == ((Flat()(inputs()) > 0) != labels).sum()
        assert measured["cross_entropy"] == pytest.approx(hard, rel=1e-5)


def test_a_loss_of_ones_own_gets_what_the_network_returns():
    shapes = []

    def own(student, teacher, labels):
        shapes.append((student.shape, teacher.shape, labels.shape))
        return F.mse_loss(student, teacher) + F.mse_loss(student, labels)

    truth = torch.randn(N)
    kdnb.distil(Flat(), Flat(1), (inputs(), truth), method=own, label_weight=0, **QUICK)
    assert {shape for row in shapes for shape in row} == {(N,)}


def test_real_values_are_refused_with_the_remedy():
    for truth in (torch.randn(N, 1) - 2, torch.randn(N) - 2):
        data = inputs(), truth
        remedy = "For real values give train a loss, such as .*mse_loss, and distil label_weight=0"
        for call in (
            lambda data=data: kdnb.train(net(0, 1), data, **QUICK),
            lambda data=data: kdnb.distil(net(0, 1), net(1, 1), data, **QUICK),
            lambda data=data: kdnb.distil(net(0, 1), net(1, 1), data, label_weight=0, **QUICK),
            lambda data=data: kdnb.Criterion("kd", net(0, 1), net(1, 1), data),
            lambda data=data: kdnb.born_again(lambda: net(0, 1), data, **QUICK),
        ):
            with pytest.raises(ValueError, match=remedy):
                call()
        with pytest.raises(ValueError, match="Others name no class to count"):
            kdnb.evaluate(net(0, 1), data)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_several_classes_a_sample_are_refused_with_the_remedy(dtype):
    truth = (torch.rand(N, 3, generator=torch.Generator().manual_seed(1)) > 0.4).to(dtype)
    data = inputs(), truth
    remedy = r"For several classes a sample \(multi-label\) give train loss=.*with_logits"
    for call in (
        lambda: kdnb.train(net(), data, **QUICK),
        lambda: kdnb.distil(net(), net(1), data, **QUICK),
        lambda: kdnb.mutual([net(), net(1)], data, **QUICK),
    ):
        with pytest.raises(ValueError, match=remedy):
            call()
    with pytest.raises(ValueError, match="Others name no class|several classes a sample"):
        kdnb.evaluate(net(), data)
    expected = BINARY(net()(inputs()), truth.float()).item()
    fit = kdnb.train(net(), (inputs(), truth.float()), loss=BINARY, **QUICK)
    assert fit.history.loss[0] == pytest.approx(expected)


def test_a_loss_that_torch_would_spread_is_refused():
    data = inputs(), torch.randn(N)
    message = r"compares tensors of the shapes \(24\) and \(24, 1\): give labels the shape"
    with pytest.raises(ValueError, match=message):
        kdnb.train(net(0, 1), data, loss=F.mse_loss, **QUICK)

    def own(student, teacher, labels):
        return F.mse_loss(student, labels)

    with pytest.raises(ValueError, match=message):
        kdnb.distil(net(0, 1), net(1, 1), data, method=own, label_weight=0, **QUICK)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda z: z, lambda y: y),
        (lambda z: z.sigmoid(), lambda y: 2 * y),
        (lambda z: z[:, 0], None),
    ],
)
def test_arithmetic_that_torch_would_spread_is_refused(first, second):
    """Torch warns of none: (24, 1) minus (24,) is (24, 24)."""
    data, message = (
        (inputs(), torch.randn(N)),
        r"compares tensors of the shapes \(24, 1\) and \(24,\)",
    )

    def own(student, teacher, labels):
        if second is None:  # of two answers
            return ((teacher - first(student)) ** 2).mean()
        return ((first(student) - second(labels)) ** 2).mean()

    with pytest.raises(ValueError, match=message):
        kdnb.distil(net(0, 1), net(1, 1), data, method=own, label_weight=0, **QUICK)
    if second is not None:
        with pytest.raises(ValueError, match=message):
            kdnb.train(net(0, 1), data, loss=lambda z, y: own(z, None, y), **QUICK)


def test_differences_of_all_pairs_are_no_mistake():
    def own(student, teacher):
        return ((student[:, None] - teacher) ** 2).mean() + (
            student[:, None] - student
        ).abs().mean()

    data = inputs(), torch.randn(N)
    flat = kdnb.distil(
        Flat(),
        Flat(1),
        data,
        method=lambda z, v: ((z[:, None] - v) ** 2).mean(),
        label_weight=0,
        **QUICK,
    )
    of_rows = kdnb.distil(net(), net(1), data[0], method=own, label_weight=0, **QUICK)
    for fit in (flat, of_rows):
        losses = fit.history.drop(columns=["epoch", "lr", "seconds"], errors="ignore")
        assert losses.size and bool((losses > 0).all(axis=None))
