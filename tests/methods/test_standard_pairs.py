"""Every method on pairs of networks that anybody takes: what trains can be measured and saved."""

import copy
import io

import pytest
import safetensors.torch
import timm
import torch
import torchvision

import kdnb
from kdnb import nets
from kdnb.methods.catalogue import METHODS
from kdnb.training.layers import Layers

QUICK = {"epochs": 1, "batch_size": 6, "lr": 0.01, "precision": "32", "weight": 0.01}


def build(name, channels, size, **options):
    torch.manual_seed(0)
    return nets.build(name, num_classes=3, in_channels=channels, image_size=size, **options)


def narrow(size):
    return build("resnet8", 3, size, width=0.25)


OURS = {  # name: student, teacher, channels and size of the images
    "LeNet-5": (lambda: build("lenet5_half_dafl", 1, 28), lambda: build("lenet5", 1, 28), 1, 28),
    "ResNet and WRN": (lambda: narrow(8), lambda: build("wrn-10-1", 3, 8), 3, 8),
    "MLP": (lambda: build("mlp", 1, 6, widths=(9, 8)), lambda: build("mlp", 1, 6, widths=(12, 11)), 1, 6),
}  # fmt: skip
THEIRS = {
    "ResNet": lambda: timm.create_model("resnet10t", num_classes=3),
    "MobileNetV3": lambda: torchvision.models.mobilenet_v3_small(num_classes=3),
    "SqueezeNet": lambda: torchvision.models.squeezenet1_1(num_classes=3),
    "ViT": lambda: timm.create_model(
        "vit_tiny_patch16_224", num_classes=3, img_size=32, depth=4, embed_dim=24, num_heads=2
    ),
    "ConvNeXt": lambda: timm.create_model("convnext_atto", num_classes=3, dims=(8, 8, 12, 16)),
}


def examples(channels, size):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(12, channels, size, size, generator=generator)
    return images, torch.arange(12) % 3


def held(method, student, teacher, data, **options):
    """Distil, then measure, copy and save every network; or refuse in one sentence beforehand."""
    before = copy.deepcopy(student.state_dict())
    try:
        fit = kdnb.distil(student, teacher, data, method=method, **QUICK, **options)
    except ValueError as error:
        after = student.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
        return str(error)
    for network in fit.networks.values():
        measured = kdnb.evaluate(network, data, teacher=teacher)
        assert measured.notna().all()
        again = copy.deepcopy(network)
        again.load_state_dict(safetensors.torch.load(safetensors.torch.save(network.state_dict())))
        assert kdnb.evaluate(again, data, teacher=teacher).equals(measured)
        torch.save(network, io.BytesIO())
    return ""


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_trains_can_be_measured_and_saved(name):
    refused = set()
    for pair, (student, teacher, channels, size) in OURS.items():
        said = held(name, student(), teacher(), examples(channels, size))
        assert said.count("\n") == 0
        refused |= {pair} if said else set()
    # One classifier stands behind hidden units, and maps of one place hold nothing to compare.
    expected = {"simkd": {"LeNet-5"}, "catkd": {"LeNet-5"}, "kr": {"MLP"}, "at": {"MLP"},
                "nst": {"MLP"}}  # fmt: skip
    assert refused == expected.get(name, set())


@pytest.mark.parametrize(
    ("name", "pair"), [("simkd", pair) for pair in THEIRS] + [("catkd", "ResNet"), ("catkd", "ViT")]
)
def test_a_classifier_must_read_the_mean_of_the_last_maps(name, pair):
    said = held(name, narrow(32), THEIRS[pair](), examples(3, 32))
    if pair == "ResNet":
        assert said == ""
    elif pair == "SqueezeNet":  # its classifier is a convolution before the pooling
        assert "SqueezeNet has no stages and no linear classifier" in said
    else:
        assert "teacher's classifier must read the mean of its last maps over all places" in said


def test_other_layers_of_a_teacher_make_the_mean_what_its_classifier_reads():
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.Tanh())
    ends = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(5, 3)
    teacher, data = torch.nn.Sequential(*body, *ends), examples(3, 8)
    options = {"layers": (None, Layers(("1",), head="5"))}
    assert "something else of the same width" in held("simkd", narrow(8), teacher, data, **options)
    assert held("simkd", narrow(8), teacher, data, layers=(None, Layers(("2",), head="5"))) == ""
    nobody = {"layers": (None, Layers(("2",), embedding="4"))}
    assert "nobody said which layer the classifier is" in held(
        "simkd", narrow(8), teacher, data, **nobody
    )
    wrong = {"layers": (None, Layers(("2",), embedding="4", head="3"))}
    assert "'3' is no linear classifier" in held("simkd", narrow(8), teacher, data, **wrong)


def test_what_is_deployed_pools_as_in_the_training():
    """A student whose maps are larger than its teacher's."""
    data = examples(3, 16)
    torch.manual_seed(0)
    ends = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(5, 3)
    teacher = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, 8), torch.nn.ReLU(), *ends)
    layers = None, Layers(("1",), head="4")
    fit = kdnb.distil(narrow(16), teacher, data, method="simkd", layers=layers, **QUICK)
    projector = fit.learnt.projector.eval()
    maps = torch.randn(2, 16, 4, 4)
    expected, _ = projector(maps, torch.zeros(2, 5, 2, 2))
    torch.testing.assert_close(projector.project(maps), expected)
    assert projector.project(torch.randn(2, 16, 8, 4)).shape == (2, 5, 4, 2)
