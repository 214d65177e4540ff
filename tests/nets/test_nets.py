"""What `build` gives: published sizes, shapes, other libraries' networks, clear errors."""

import importlib
import math
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import kdnb
from kdnb import nets
from kdnb.nets import build, features


def parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


def on_meta(name, **arguments):
    with torch.device("meta"):
        return build(name, **arguments)


def on_cifar(name, classes=10, **options):
    return on_meta(name, num_classes=classes, in_channels=3, image_size=32, **options)


# --- sizes ------------------------------------------------------------------------------------

# exact counts for CIFAR (three channels) that others published:
# ResNets with projections and WRN-28-10: table of pretrained models of osmr/imgclsmob;
# the small WRNs: comments in the model list of public data-free distillation code
PUBLISHED = {
    ("resnet20", 10): 272_474, ("resnet20", 100): 278_324,
    ("resnet56", 10): 855_770, ("resnet56", 100): 861_620,
    ("resnet110", 10): 1_730_714, ("resnet110", 100): 1_736_564,
    ("wrn-28-10", 10): 36_479_194, ("wrn-28-10", 100): 36_536_884,
    ("wrn-40-8", 10): 35_748_314, ("wrn-40-8", 100): 35_794_484,
    ("wrn-16-1", 10): 175_066, ("wrn-16-2", 10): 691_674, ("wrn-16-4", 10): 2_748_890,
    ("wrn-28-1", 10): 369_498, ("wrn-28-2", 10): 1_467_610, ("wrn-40-1", 10): 563_930,
}  # fmt: skip

# millions for CIFAR-10: He et al. 2016, table 6 (identity shortcuts, copied in the README of
# akamaster/pytorch_resnet_cifar10); Zagoruyko and Komodakis 2016 and 2017 (attention transfer)
# for the WRNs, not re-read here: the exact counts above bear them out
PRINTED = {
    "resnet20": 0.27, "resnet32": 0.46, "resnet44": 0.66, "resnet56": 0.85, "resnet110": 1.7,
    "wrn-16-1": 0.2, "wrn-16-2": 0.7, "wrn-40-1": 0.6, "wrn-40-2": 2.2, "wrn-28-10": 36.5,
}  # fmt: skip


@pytest.mark.parametrize(("name", "classes"), PUBLISHED)
def test_parameters_equal_the_published_counts(name, classes):
    assert parameters(on_cifar(name, classes)) == PUBLISHED[name, classes]


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_round_to_the_papers_figures(name):
    options = {"shortcut": "A"} if name.startswith("resnet") else {}
    millions = parameters(on_cifar(name, **options)) / 1e6
    digits = len(str(PRINTED[name]).split(".")[1])
    assert round(millions, digits) == PRINTED[name]


def resnet_count(depth, widths, classes):
    """Convolutions, two numbers a channel and normalisation, projections, and the last layer."""
    stem, *stages = widths
    total, inputs = 27 * stem + 2 * stem, stem
    for stage, width in enumerate(stages):
        for block in range((depth - 2) // 6):
            total += 9 * inputs * width + 9 * width * width + 4 * width
            if block == 0 and (stage > 0 or inputs != width):
                total += inputs * width + 2 * width
            inputs = width
    return total + inputs * classes + classes


def vgg_count(convolutions, classes):
    total, inputs = 0, 3
    for width in (64, 128, 256, 512, 512):
        for _ in range(convolutions):
            total += 9 * inputs * width + width + 2 * width
            inputs = width
    return total + 512 * classes + classes


@pytest.mark.parametrize("classes", [10, 100])
def test_parameters_of_the_crd_family_equal_its_arithmetic(classes):
    """No exact published counts were found for these: counted from the family's definition."""
    for depth in (8, 14, 20, 26, 32, 44, 56, 110):
        expected = resnet_count(depth, (16, 16, 32, 64), classes)
        assert parameters(on_cifar(f"resnet{depth}", classes)) == expected
    for depth in (8, 32):
        expected = resnet_count(depth, (32, 64, 128, 256), classes)
        assert parameters(on_cifar(f"resnet{depth}x4", classes)) == expected
    assert parameters(on_cifar("vgg8", classes)) == vgg_count(1, classes)
    assert parameters(on_cifar("vgg13", classes)) == vgg_count(2, classes)


def test_parameters_of_the_crd_family_are_frozen():
    """The arithmetic above, spelt out once for CIFAR-100, so that both cannot move together."""
    expected = {
        "resnet8x4": 1_233_540, "resnet32x4": 7_433_860, "wrn-40-2": 2_255_156,
        "wrn-40-1": 569_780, "wrn-16-2": 703_284, "vgg8": 3_965_028, "vgg13": 9_462_180,
    }  # fmt: skip
    assert {name: parameters(on_cifar(name, 100)) for name in expected} == expected


def test_parameters_of_the_four_stage_resnets():
    """Counted from table 1 of He et al. 2016 with a 3x3 stem, and spelt out."""

    def count(blocks, classes=10):
        total, inputs = 3 * 64 * 9 + 2 * 64, 64
        for outputs, repeated in zip((64, 128, 256, 512), blocks, strict=True):
            for _ in range(repeated):
                total += 9 * outputs * (inputs + outputs) + 4 * outputs
                total += inputs * outputs + 2 * outputs if inputs != outputs else 0
                inputs = outputs
        return total + 512 * classes + classes

    assert count((2, 2, 2, 2)) == 11_173_962 == parameters(on_cifar("resnet18_cifar", 10))
    assert count((3, 4, 6, 3)) == 21_282_122 == parameters(on_cifar("resnet34_cifar", 10))
    assert parameters(on_cifar("resnet34_cifar", 100)) == count((3, 4, 6, 3), 100)


def test_parameters_of_the_mnist_networks():
    """Hinton 2015: 784-1200-1200-10; DAFL 2019: 61,706 and 15,738; ZSKD 2019: 35,820."""
    assert parameters(on_meta("mlp")) == 784 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 10 + 10
    assert parameters(on_meta("lenet5")) == 61_706
    assert parameters(on_meta("lenet5_half_dafl")) == 15_738
    assert parameters(on_meta("lenet5_half_zskd")) == 35_820


def test_parameters_of_the_maxout_networks():
    """361K and 30K (Romero 2015, appendix A.2), two pieces a channel, biases included."""
    teacher = 2 * 48 * (64 + 1) + 2 * 48 * (48 * 64 + 1) + 2 * 24 * (48 * 25 + 1) + 10 * (216 + 1)
    widths = [(1, 16, 25), (16, 16, 9), (16, 16, 25), (16, 16, 9), (16, 12, 9), (12, 12, 9)]
    student = sum(2 * out * (inputs * k + 1) for inputs, out, k in widths) + 10 * (108 + 1)
    assert parameters(on_meta("maxout_mnist")) == teacher == 361_066
    assert parameters(on_meta("fitnet_mnist")) == student == 30_130


def test_the_signal_of_small_weights_dies_with_depth():
    """Romero's student from uniform(±0.005) against He's start: the spread of the maps over images."""
    spread = {}
    for start, irange in (("uniform", 0.005), ("he", None)):
        torch.manual_seed(0)
        network = build("fitnet_mnist", irange=irange)
        paths = [f"layers.{number}" for number in range(6)]
        with features(network, paths) as maps, torch.no_grad():
            network(torch.randn(16, 1, 28, 28))
        spread[start] = [float(maps[path].std(0).mean()) for path in paths]
    assert spread["uniform"] == sorted(set(spread["uniform"]), reverse=True)
    assert max(spread["he"]) / min(spread["he"]) < 10
    assert spread["uniform"][-1] < 1e-6 * spread["he"][-1]


def test_the_tiny_network():
    """Sizes of Passalis and Tefas's public code on CIFAR-10: 128 numbers enter the hidden layer."""
    net = on_cifar("tiny", 10)
    convolutions = 9 * (3 * 8 + 8 * 16 + 16 * 32) + 3 * (8 + 16 + 32)
    assert parameters(net) == convolutions + 128 * 64 + 64 + 64 * 10 + 10
    with pytest.raises(ValueError, match="tiny needs images of at least 22x22"):
        build("tiny", image_size=21)


def test_thinner_and_wider_networks():
    half = build("resnet8", in_channels=3, image_size=32, width=0.5)
    assert parameters(half) == resnet_count(8, (8, 8, 16, 32), 10)
    assert [half.stage1[0].conv1.out_channels, half.stage3[0].conv1.out_channels] == [8, 32]
    thin = build("vgg8", in_channels=3, image_size=32, width=0.125)
    assert [thin.stage1.conv1.out_channels, thin.stage5.conv1.out_channels] == [8, 64]
    assert thin.head.in_features == 64
    with pytest.raises(ValueError, match="width 0.01 leaves a layer of 16 channels none"):
        build("resnet8", width=0.01)


def multiply_adds(net, size, channels):
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, channels, size, size, device="meta"))
    return counter.get_total_flops() / 2


def test_multiply_adds():
    assert multiply_adds(on_meta("mlp"), 28, 1) == 784 * 1200 + 1200 * 1200 + 1200 * 10
    by_hand = 28 * 28 * 25 * 6 + 10 * 10 * 25 * 6 * 16 + 25 * 16 * 120 + 120 * 84 + 84 * 10
    assert multiply_adds(on_meta("lenet5"), 28, 1) == by_hand == 416_520
    # osmr/imgclsmob, CIFAR-10: its counter also counts normalisations and ReLUs
    published = {"resnet20": 41.29e6, "resnet56": 127.06e6, "wrn-28-10": 5246.98e6}
    for name, count in published.items():
        assert multiply_adds(on_cifar(name), 32, 3) == pytest.approx(count, rel=0.02)


@pytest.mark.parametrize("name", nets.names())
def test_output_shapes(name):
    for size, channels in ((28, 1), (32, 3)):
        net = on_meta(name, num_classes=7, in_channels=channels, image_size=size)
        assert net(torch.empty(2, channels, size, size, device="meta")).shape == (2, 7)


def test_networks_fit_other_sizes():
    for name, size in {"resnet8": (48, 20), "wrn-16-1": (5, 4), "vgg8": 8, "mlp": (3, 50)}.items():
        height, width = (size, size) if isinstance(size, int) else size
        net = on_meta(name, in_channels=2, image_size=size)
        assert net(torch.empty(2, 2, height, width, device="meta")).shape == (2, 10)


def test_vgg_pools_large_images_once_more():
    for size, last in ((32, 4), (64, 4)):
        net = on_meta("vgg8", image_size=size, in_channels=3)
        with features(net, ["stage5"]) as maps:
            net(torch.empty(1, 3, size, size, device="meta"))
        assert maps["stage5"].shape == (1, 512, last, last)


# --- other libraries and errors ---------------------------------------------------------------


def test_networks_of_timm_and_torchvision():
    net = on_meta("timm:resnet18", num_classes=7, in_channels=1)
    assert net(torch.empty(2, 1, 28, 28, device="meta")).shape == (2, 7)
    assert type(net).__module__.startswith("timm.")
    assert type(on_meta("resnet18")).__module__.startswith("timm.")
    assert type(on_meta("alexnet", in_channels=3)).__module__.startswith("torchvision.")
    net = on_meta("torchvision:resnet18", num_classes=7, in_channels=3)
    assert net(torch.empty(2, 3, 28, 28, device="meta")).shape == (2, 7)
    net = on_meta("vit_tiny_patch16_224", num_classes=7, in_channels=1, image_size=32)
    assert net(torch.empty(2, 1, 32, 32, device="meta")).shape == (2, 7)
    net = on_meta("torchvision:vit_b_16", num_classes=7, in_channels=3, image_size=32)
    assert net(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 7)


def test_options_reach_timm():
    deep = on_meta("timm:resnet18", stem_type="deep")
    assert parameters(deep) > parameters(on_meta("timm:resnet18"))


def test_own_networks_need_no_other_library(monkeypatch):
    for library in ("timm", "torchvision"):
        monkeypatch.setitem(sys.modules, library, None)  # importing it now fails
    for name in [name for name in sys.modules if name.startswith("kdnb.nets")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(kdnb, "nets", nets)  # so that the import below is undone here too
    fresh = importlib.import_module("kdnb.nets")
    assert fresh is not nets
    assert parameters(fresh.build("resnet8")) > 0
    with pytest.raises(ImportError):
        fresh.build("resnet18")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnt20", {}, "no network 'resnt20' .* nearest names are resnet20"),
        ("wrn_40_2", {}, "nearest names are wrn-40-2"),
        ("torchvision:resnet19", {}, "in torchvision: .*resnet18"),
        ("timm:hf-hub:someone/net", {}, "no network 'hf-hub:someone/net' in timm"),
        ("mlp", {"width": 3}, "takes widths, dropout_input, dropout_hidden, max_norm"),
        ("lenet5", {"widths": [1, 2, 3, 4]}, "does not take the option widths: it takes none"),
        ("resnet20", {"depth": 8}, "does not take the option depth: it takes shortcut"),
        ("timm:resnet18", {"widt": 1}, "options widt .* class ResNet takes .*base_width"),
        ("timm:resnet18", {"pretrained": True}, "built untrained, so pretrained is refused"),
        ("torchvision:resnet18", {"in_channels": 3, "weights": "DEFAULT"}, "weights is refused"),
        ("torchvision:resnet18", {}, "takes images with 3 channels, not 1"),
        ("torchvision:vit_b_16", {"in_channels": 3}, "torchvision cannot build vit_b_16"),
        ("lenet5", {"image_size": 20}, "28x28 or 32x32 pixels; got 20x20"),
        ("vgg8", {"image_size": 7}, "at least 8x8 pixels.* got 7x7"),
        ("resnet8", {"image_size": (32, 3)}, "at least 4x4 pixels.* got 32x3"),
        ("resnet8", {"image_size": (3, 32, 32)}, "image_size must be"),
        ("resnet8", {"image_size": None}, "image_size must be"),
        ("resnet8", {"shortcut": "C"}, "shortcut must be 'A' or 'B'"),
        ("wrn-12-1", {}, "6n \\+ 4 layers"),
        ("wrn-16-0", {}, "width must be a whole number above 0"),
        ("mlp", {"num_classes": 0}, "num_classes must be a whole number above 0; got 0"),
        ("mlp", {"widths": [100, 0]}, r"widths\[1\] must be a whole number above 0"),
        ("mlp", {"dropout_input": 1.0}, r"dropout_input must lie in \[0, 1\)"),
        ("mlp", {"dropout_hidden": "0.5"}, r"dropout_hidden must lie in \[0, 1\)"),
        ("mlp", {"max_norm": True}, "max_norm must be None or a finite number above 0; got True"),
        ("mlp", {"dropout_input": False}, r"dropout_input must lie in \[0, 1\); got False"),
        ("mlp", {"widths": [1] * 1001}, "widths must name at most 1,000 layers; got 1001"),
        ("mlp", {"num_classes": True}, "num_classes must be a whole number above 0; got True"),
        ("resnet8", {"width": math.nan}, "width must be a finite number above 0; got nan"),
        ("resnet8", {"width": math.inf}, "width must be a finite number above 0; got inf"),
        ("resnet8", {"width": True}, "width must be a finite number above 0; got True"),
        ("vgg8", {"width": "2"}, "width must be a finite number above 0; got '2'"),
        ("resnet18_cifar", {"width": None}, "width must be a finite number above 0; got None"),
        ("resnet8", {"width": 0}, "width 0 leaves a layer of 16 channels none"),
        ("fitnet_mnist", {"irange": "a"}, "irange must be a number above 0, or None; got 'a'"),
        ("fitnet_mnist", {"irange": math.inf}, "irange must be a number above 0, or None; got inf"),
        ("wrn-1000000-1", {}, "at most 1,000.*; got 1000000"),
        ("wrn-\u0661\u0666-1", {}, "there is no network"),
        ("mlp", {"max_norm": 0}, "max_norm must be None or a finite number above 0"),
    ],
)
def test_wrong_requests_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        on_meta(name, **arguments)


@pytest.mark.parametrize("name", [3, None, ["resnet8"], b"resnet8", True])
def test_a_name_that_is_no_string_is_refused(name):
    with pytest.raises(
        TypeError, match=r'the name of a network is a string, such as "resnet20"; g'
    ):
        build(name)


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("mlp", {"num_classes": 10**9}, "num_classes=1000000000"),
        ("mlp", {"num_classes": 10**30}, "num_classes=1000000"),
        ("mlp", {"in_channels": 10**9}, "in_channels=1000000000"),
        ("mlp", {"image_size": 10**6}, "image_size="),
        ("mlp", {"widths": [10**12]}, "widths="),
        ("tiny", {"image_size": 10**7}, "image_size="),
        ("resnet8", {"width": 1e9}, "width=1000000000.0"),
        ("vgg8", {"width": 1e300}, "width=1e"),
        ("wrn-16-99999999999", {}, "'wrn-16-99999999999' would"),
        ("resnet8", {"in_channels": 10**12}, "in_channels="),
        ("timm:resnet18", {"num_classes": 10**10}, "num_classes="),
        ("torchvision:resnet18", {"num_classes": 10**10, "in_channels": 3}, "num_classes="),
    ],
)
def test_a_network_larger_than_the_memory_is_refused(name, arguments, named):
    with pytest.raises(ValueError, match="would take .* GB of memory|would take far more") as error:
        build(name, **arguments)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_many_classes_are_fine():
    assert build("mlp", num_classes=21843, widths=[4]).head.out_features == 21843


def test_the_random_numbers_of_a_large_network_are_those_of_any():
    torch.manual_seed(0)
    one = build("mlp", num_classes=5000, widths=[3])
    torch.manual_seed(0)
    two = nets.MLP(num_classes=5000, widths=[3])
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_refusal_is_short():
    for name in ("x" * 5000, "timm:" + "y" * 5000, "wrn-16-" + "9" * 3000):
        with pytest.raises(ValueError) as error:
            build(name)
        assert len(str(error.value)) < 700 and "\n" not in str(error.value)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"images of shape \(batch, 1, 28, 28\); got \(2, 1, 32"):
        build("mlp", widths=[3])(torch.zeros(2, 1, 32, 32))
    with pytest.raises(ValueError, match="got 30x28"):
        build("lenet5")(torch.zeros(2, 1, 30, 28))


def test_a_network_of_ones_own_is_built_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "class Own(nn.Sequential):\n"
        "    def __init__(self, num_classes, width=3):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(16, width), nn.Linear(width, num_classes))\n"
        "def whole(**given):\n"
        "    return nn.Linear(given['in_channels'], given['num_classes'])\n"
        "def none(): return 3\n"
        "def bad(num_classes): raise KeyError('x')\n"
        "ready, number = nn.Linear(1, 1), 4\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = nets.build("my_nets:Own", num_classes=5, width=2)
    assert own(torch.zeros(2, 1, 4, 4)).shape == (2, 5) and own[1].out_features == 2
    assert nets.build("my_nets:whole", num_classes=5, in_channels=3).in_features == 3
    for name, error, words in (
        ("my_nets:Onw", ValueError, r"my_nets has no 'Onw' \(nearest: Own"),
        ("nowhere:Own", ValueError, "'nowhere' cannot be imported"),
        (":Own", ValueError, "cannot be imported"),
        ("my_nets:number", ValueError, "is no function, but a int"),
        ("my_nets:none", TypeError, "gives a int, not a torch module"),
        ("my_nets:bad", ValueError, "cannot be called with"),
        ("my_nets:ready", TypeError, "is a network already"),
    ):
        with pytest.raises(error, match=words) as caught:
            nets.build(name)
        assert "\n" not in str(caught.value)


def test_without_timm_its_networks_are_said_to_be_missing(monkeypatch):
    from kdnb.nets import _elsewhere

    monkeypatch.setattr(_elsewhere, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match="timm:resnet18 is a network of timm, which is not installed"
    ):
        nets.build("timm:resnet18")
    with pytest.raises(ValueError, match="there is no network 'resnet10t' in kdnb, timm or torchv"):
        nets.build("resnet10t")
