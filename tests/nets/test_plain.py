"""TAKD's plain networks: parameters counted by hand, shapes, the layers a loss may see."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb import nets
from kdnb.nets import features
from kdnb.nets.plain import PlainNet
from kdnb.training.layers import layers_of

NAMES = ["plain2", "plain4", "plain6", "plain8", "plain10"]


def counted(convolutions, features, hidden, classes, channels):
    """Nine weights a pair of channels, two numbers of normalisation a channel, linear layers."""
    total = 0
    for outputs in convolutions:
        total += 9 * channels * outputs + 2 * outputs
        channels = outputs
    if hidden:
        total += features * hidden + hidden
    return total + (hidden or features) * classes + classes


# convolutions, hidden units, and pixels that are left of 32x32 and of 28x28 images
SIZES = {
    "plain2": ([16, 16], None, 8 * 8, 7 * 7),
    "plain4": ([16, 16, 32, 32], None, 8 * 8, 7 * 7),
    "plain6": ([16, 16, 32, 32, 64, 64], None, 4 * 4, 3 * 3),
    "plain8": ([16, 16, 32, 32, 64, 64, 128, 128], 64, 2 * 2, 1),
    "plain10": ([32, 32, 64, 64, 128, 128, 256, 256, 256, 256], 128, 2 * 2, 1),
}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_table(name):
    convolutions, hidden, cifar, fashion = SIZES[name]
    for size, channels, classes, pixels in ((32, 3, 10, cifar), (32, 3, 100, cifar),
                                            (28, 1, 10, fashion)):  # fmt: skip
        net = nets.build(name, num_classes=classes, in_channels=channels, image_size=size)
        expected = counted(convolutions, convolutions[-1] * pixels, hidden, classes, channels)
        assert sum(parameter.numel() for parameter in net.parameters()) == expected


def test_parameters_are_frozen():
    """The arithmetic above, spelt out once for CIFAR-10, so that both cannot move together."""
    found = {
        name: sum(p.numel() for p in nets.build(name, in_channels=3, image_size=32).parameters())
        for name in NAMES
    }
    assert found == {
        "plain2": 13_050, "plain4": 37_242, "plain6": 82_554, "plain8": 327_482,
        "plain10": 2_486_378,
    }  # fmt: skip


def test_a_width_multiplies_channels_and_hidden_units():
    net = nets.build("plain8", in_channels=3, image_size=32, width=0.5)
    expected = counted([8, 8, 16, 16, 32, 32, 64, 64], 64 * 2 * 2, 32, 10, 3)
    assert sum(parameter.numel() for parameter in net.parameters()) == expected
    with pytest.raises(ValueError, match="leaves a layer of 16 channels none"):
        PlainNet(width=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_counts_the_convolutions_and_every_stage_halves_the_image(name):
    net = nets.build(name, in_channels=3, image_size=32)
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) == int(name[5:])
    layers = layers_of(net)
    assert layers.embedding == "embedding" and layers.head == "head"
    with features(net, layers.paths) as seen:
        assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    for stage, path in enumerate(layers.maps, start=1):
        assert seen[path].shape[2:] == (32 >> stage, 32 >> stage)
    for path in layers.before:
        assert path.split(".")[1].startswith("bn")
        assert seen[path].min() < 0  # in front of the ReLU
    assert seen["embedding"].shape == (2, net.head.in_features)


def test_a_plain_net_computes_its_definition():
    torch.manual_seed(0)
    net = nets.build("plain4", in_channels=3, image_size=(12, 9)).double().eval()
    maps = images = torch.randn(3, 3, 12, 9, dtype=torch.float64)
    for stage in (net.stage1, net.stage2):
        for conv in (stage.conv1, stage.conv2):
            # Fresh running statistics: normalisation divides by the root of 1 + 1e-5.
            maps = (F.conv2d(maps, conv.weight, padding=1) / (1 + 1e-5) ** 0.5).relu()
        maps = F.max_pool2d(maps, 2)
    torch.testing.assert_close(net(images), F.linear(maps.flatten(1), *net.head.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    net = nets.build(name, in_channels=3, image_size=32)
    F.cross_entropy(net(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), key


def test_wrong_depths_and_sizes_are_named():
    with pytest.raises(ValueError, match="2, 4, 6, 8, 10 layers; got 3"):
        PlainNet(depth=3)
    with pytest.raises(ValueError, match="plain10 needs images of at least 16x16"):
        nets.build("plain10", image_size=15)
