"""What is tried on a first batch: options, layers, labels and losses that a method cannot take."""

import pytest
import torch
from torch import nn

import kdnb
from kdnb import nets
from kdnb.training.layers import Layers, look

QUICK = {"epochs": 1, "batch_size": 8, "lr": 0.01, "precision": "32"}


def pictures(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 16, 16, generator=generator), torch.arange(count) % 3


def resnet(seed=0):
    torch.manual_seed(seed)
    size = {"num_classes": 3, "in_channels": 3, "image_size": 16, "width": 0.25}
    return nets.build("resnet8", **size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": float("nan")}, "^the method kd: temperature must be a finite number"),
        ({"method": "at", "power": -1}, "^the method at: power must"),
        ({"method": "dkd", "temperature": 0}, "^the method dkd: temperature must be"),
    ],
)
def test_a_wrong_option_is_told_from_wrong_layers(options, message):
    with pytest.raises(ValueError, match=message):
        kdnb.distil(resnet(), resnet(1), pictures(), **QUICK, **options)


def test_logits_of_other_classes_are_told_from_wrong_layers():
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    with pytest.raises(ValueError, match="^KD cannot take this batch: logits must have"):
        kdnb.distil(resnet(), teacher, pictures(), **QUICK)


def vector(student, teacher):
    return (student - teacher).square().sum(1)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (vector, r"vector must return one floating-point number, shape \(\); got .* \(8,\)"),
        (
            lambda s, t: vector(s, t).mean()[None],
            r"got torch.float32 of shape \(1,\): take its mean",
        ),
        (lambda s: s.mean(), r"takes 1 argument: a loss of your own takes \(student_logits, teach"),
        (lambda: 0.0, "cannot take these answers"),
        (nn.MSELoss, "the method is the class MSELoss: give an object of it"),
    ],
)
def test_a_loss_of_ones_own_is_tried_first(method, message):
    for call in (
        lambda: kdnb.distil(resnet(), resnet(1), pictures(), method=method, **QUICK),
        lambda: kdnb.Criterion(method, resnet(), resnet(1), pictures()),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()


@pytest.mark.parametrize("method", ["dkd", "nkd", "triplet", "crd"])
def test_a_sample_without_a_label_is_refused_wherever_it_lies(method):
    images, labels = pictures(24)
    labels = labels.clone()
    labels[19] = -100
    for data in ((images, labels), [(images, labels)]):
        options = {**QUICK} if isinstance(data, tuple) else {**QUICK, "batch_size": 128}
        options.pop("batch_size") if isinstance(data, list) else None
        with pytest.raises(ValueError, match=rf"{method} reads the label of every .*1 of 24 have"):
            kdnb.distil(resnet(), resnet(1), data, method=method, weight=1.0, **options)
    kdnb.distil(resnet(), resnet(1), (images, labels), method="kd", **QUICK)


@pytest.mark.parametrize("layers", [("0", "0"), Layers(("stage1",)), (None,), "stage1"])
def test_layers_are_a_pair_of_layers(layers):
    with pytest.raises(TypeError, match="layers is a pair, the student's and the teacher's"):
        kdnb.distil(resnet(), resnet(1), pictures(), method="at", layers=layers, **QUICK)


class Block(nn.Module):
    """As a block of a transformer: states, and what nobody asked for."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.convolution(x), None


class Blocks(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.block, self.head = Block(), nn.Linear(4 * 14 * 14, 3)

    def forward(self, x):
        return self.head(self.block(x)[0].flatten(1))


def test_of_a_layer_that_returns_a_tuple_the_first_is_taken():
    network, (images, labels) = Blocks(), pictures()
    tuples, inner = (Layers((path,), head="head") for path in ("block", "block.convolution"))
    assert torch.equal(look(network, tuples, images).maps[0], look(network, inner, images).maps[0])
    found = [
        kdnb.distil(
            Blocks(), Blocks(1), (images, labels), method="at", layers=(at, at), **QUICK
        ).history["at"][0]
        for at in (tuples, inner)
    ]
    assert found[0] == found[1] > 0


def test_irg_asks_for_three_samples_first_and_takes_two_later():
    with pytest.raises(
        ValueError, match="^IRG cannot take this batch: it needs at least 3 samples"
    ):
        kdnb.distil(resnet(), resnet(1), pictures(2), method="irg", weight=1.0, **QUICK)
    batches = [pictures(8), pictures(2)]
    options = {"epochs": 1, "lr": 0.001, "precision": "32"}
    fit = kdnb.distil(resnet(), resnet(1), batches, method="irg", weight=1.0, **options)
    assert fit.history.irg[0] > 0


RELATING = ["ifm", "rkd", "cc", "fsp", "irg", "mhgd", "crd"]


@pytest.mark.parametrize("method", RELATING)
@pytest.mark.parametrize("later", ["two samples", "one class"])
def test_a_later_batch_of_two_samples_or_one_class_is_finite(method, later):
    images, labels = pictures(8)
    last = (images[:2], labels[:2]) if later == "two samples" else (images, labels * 0)
    student = resnet()
    options = {"epochs": 1, "lr": 0.001, "precision": "32", "method": method, "weight": 1.0}
    fit = kdnb.distil(student, resnet(1), [(images, labels), last], **options)
    assert torch.isfinite(torch.tensor(fit.history[method][0]))
    assert all(torch.isfinite(p).all() for p in student.parameters())
