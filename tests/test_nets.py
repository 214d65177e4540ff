"""The networks: published sizes, shapes, gradients, max-norm, features by path, clear errors."""

import importlib
import math
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import kdnb
from kdnb import nets
from kdnb.nets import build, constrain, features, module_paths
from kdnb.nets.maxout import Maxout

SMALL = [
    "mlp", "lenet5", "lenet5_half_dafl", "lenet5_half_zskd", "resnet8", "resnet14", "resnet8x4",
    "wrn-16-1", "wrn-16-2", "wrn-10-3", "vgg8",
]  # fmt: skip


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


def test_maxout_is_the_largest_piece():
    torch.manual_seed(0)
    layer = Maxout(2, 3, kernel=3, padding=1, pieces=4).double()
    images = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    pieces = layer.conv(images)
    expected = torch.stack(
        [torch.stack([pieces[:, p * 3 + c] for p in range(4)]).amax(0) for c in range(3)], 1
    )
    assert torch.equal(layer(images), expected)


def test_maxout_networks_start_as_asked():
    torch.manual_seed(0)
    uniform, he = build("fitnet_mnist"), build("fitnet_mnist", irange=None)
    for net in (uniform, he):
        assert all(not p.any() for n, p in net.named_parameters() if n.endswith("bias"))
    weights = torch.cat([p.flatten() for n, p in uniform.named_parameters() if "weight" in n])
    assert 0.00499 < weights.abs().max() <= 0.005
    assert abs(weights.var() * 3 / 0.005**2 - 1) < 0.05
    last = he.layers[2].maxout.conv.weight  # fan-in 16 · 25
    assert abs(last.var() * 400 / 2 - 1) < 0.05
    with pytest.raises(ValueError, match="irange must be above 0, or None; got 0"):
        build("fitnet_mnist", irange=0)


def test_maxout_networks_keep_their_filters_short():
    net = build("fitnet_mnist", irange=None)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(100)
    short = net.layers[0].maxout.conv.weight.detach().clone() / 1000
    constrain(net)
    norms = [part.maxout.conv.weight.flatten(1).norm(dim=1) for part in net.layers]
    bounds = [0.9] * 2 + [1.9365] * 4  # the authors' configuration
    for norm, bound in zip(norms, bounds, strict=True):
        torch.testing.assert_close(norm, torch.full_like(norm, bound))
    net.layers[0].maxout.conv.weight.data.copy_(short)
    constrain(net)
    assert torch.equal(net.layers[0].maxout.conv.weight, short)


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


# --- what they compute ------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter(name):
    net = build(name)
    F.cross_entropy(net(torch.randn(4, 1, 28, 28)), torch.arange(4)).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # a bias that batch normalisation subtracts again has no effect, hence no gradient
        if not (name == "vgg8" and ".conv" in key and key.endswith("bias")):
            assert parameter.grad.any(), key


def reference(weights, images, blocks, preactivated):
    """A ResNet with identity shortcuts, or a WRN, spelt out on the bare tensors, in eval mode."""

    def bn(maps, key):
        mean, var = weights[f"{key}.running_mean"], weights[f"{key}.running_var"]
        shape = (1, -1, 1, 1)
        normal = (maps - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        return normal * weights[f"{key}.weight"].view(shape) + weights[f"{key}.bias"].view(shape)

    def conv(maps, key, stride=1):
        kernel = weights[f"{key}.weight"]
        return F.conv2d(maps, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    maps = conv(images, "stem") if preactivated else conv(images, "stem.conv")
    maps = maps if preactivated else bn(maps, "stem.bn").relu()
    for stage in (1, 2, 3):
        for index in range(blocks):
            key, stride = f"stage{stage}.{index}", 2 if stage > 1 and index == 0 else 1
            if preactivated:
                active = bn(maps, f"{key}.bn1").relu()
                inner = bn(conv(active, f"{key}.conv1", stride), f"{key}.bn2").relu()
                changed = f"{key}.shortcut.weight" in weights
                beside = conv(active, f"{key}.shortcut", stride) if changed else maps
                maps = conv(inner, f"{key}.conv2") + beside
            else:
                inner = bn(conv(maps, f"{key}.conv1", stride), f"{key}.bn1").relu()
                residual = bn(conv(inner, f"{key}.conv2"), f"{key}.bn2")
                beside = torch.zeros_like(residual)
                extra = (residual.shape[1] - maps.shape[1]) // 2
                beside[:, extra : extra + maps.shape[1]] = maps[:, :, ::stride, ::stride]
                maps = (residual + beside).relu()
    if preactivated:
        maps = bn(maps, "final.bn").relu()
    return maps.mean(dim=(2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize(
    ("name", "options"), [("resnet14", {"shortcut": "A"}), ("wrn-16-2", {}), ("wrn-10-1", {})]
)
def test_residual_networks_compute_their_definition(name, options):
    torch.manual_seed(0)
    net = build(name, in_channels=3, image_size=32, **options).double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    net(images)  # moves the running statistics off their start
    net.eval()
    expected = reference(net.state_dict(), images, len(net.stage1), "wrn" in name)
    torch.testing.assert_close(net(images), expected)


def test_lenet_pads_small_images_with_their_edge():
    net = build("lenet5").eval()
    images = torch.randn(2, 1, 28, 28)
    rows = torch.arange(-2, 30).clamp(0, 27)
    torch.testing.assert_close(net(images), net(images[:, :, rows][:, :, :, rows]))


def test_initial_weights():
    torch.manual_seed(0)
    net = build("resnet8x4", in_channels=3, image_size=32)
    kernel = net.stage3[0].conv1.weight  # 128 to 256 channels: fan-in and fan-out differ
    assert kernel.std().item() == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.01)
    assert net.stage3[0].bn2.weight.eq(1).all()
    mlp = build("mlp")
    assert mlp.hidden[0].linear.weight.std().item() == pytest.approx(math.sqrt(2 / 784), rel=0.01)
    assert mlp.head.weight.std().item() == pytest.approx(math.sqrt(1 / 1200), rel=0.05)
    torch.manual_seed(0)
    again = build("resnet8x4", in_channels=3, image_size=32)
    assert torch.equal(kernel, again.stage3[0].conv1.weight)


@pytest.mark.parametrize("name", ["lenet5", "resnet8", "wrn-16-1", "vgg8"])
def test_channels_last_and_bfloat16_change_only_the_rounding(name):
    torch.manual_seed(0)
    net = build(name, in_channels=3, image_size=32).eval()
    images = torch.randn(4, 3, 32, 32)
    exact = net(images)
    net = net.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(images), exact, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(images)
    assert half.dtype == torch.bfloat16
    assert (half - exact).norm() < 0.05 * exact.norm()


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    net = build("mlp", widths=[2000], dropout_input=0.2, dropout_hidden=0.5)
    images = torch.ones(10, 1, 28, 28)
    with features(net, ["stem", "hidden.0"]) as maps:
        net(images)
        assert maps["stem"].eq(0).float().mean().item() == pytest.approx(0.2, abs=0.02)
        hidden = maps["hidden.0"].eq(0).float().mean().item()
        net.eval()
        net(images)
        assert torch.equal(maps["stem"], images.flatten(1))
        assert hidden > maps["hidden.0"].eq(0).float().mean().item() + 0.2
    assert torch.equal(net(images), net(images))


# --- max-norm ---------------------------------------------------------------------------------


def test_constrain_equals_a_loop_over_the_units():
    torch.manual_seed(0)
    net = build("mlp", widths=[20, 30], image_size=6, max_norm=1.3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(torch.rand(len(parameter)).view(-1, *[1] * (parameter.ndim - 1)) * 2)
        net.hidden[0].linear.weight[3] = 0
    before = {key: value.clone() for key, value in net.state_dict().items()}
    constrain(nn.Sequential(net))
    free = 0
    for key, value in net.state_dict().items():
        expected = before[key].clone()
        if key.startswith("hidden") and key.endswith("weight"):
            for unit in range(len(expected)):
                length = math.sqrt(sum(x * x for x in expected[unit].tolist()))
                free += length <= 1.3
                if length > 1.3:
                    expected[unit] *= 1.3 / length
        torch.testing.assert_close(value, expected)
    assert 5 < free < 45


def test_constrain_leaves_other_networks_alone():
    for net in (build("mlp", widths=[9]), build("lenet5"), nn.Linear(3, 4)):
        before = {key: value.clone() for key, value in net.state_dict().items()}
        constrain(net)
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


# --- storage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_state_survives_safetensors(name, tmp_path):
    first, second = build(name), build(name)
    first(torch.randn(4, 1, 28, 28))
    save_file(first.state_dict(), tmp_path / "net.safetensors")  # refuses shared tensors
    second.load_state_dict(load_file(tmp_path / "net.safetensors"))
    images = torch.randn(2, 1, 28, 28)
    assert torch.equal(first.eval()(images), second.eval()(images))


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
        ("mlp", {"max_norm": 0}, "max_norm must be None or a finite number above 0"),
    ],
)
def test_wrong_requests_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        on_meta(name, **arguments)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"images of shape \(batch, 1, 28, 28\); got \(2, 1, 32"):
        build("mlp", widths=[3])(torch.zeros(2, 1, 32, 32))
    with pytest.raises(ValueError, match="got 30x28"):
        build("lenet5")(torch.zeros(2, 1, 30, 28))


# --- features ---------------------------------------------------------------------------------


def hooks(net):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_features_are_the_outputs_and_carry_gradients():
    net = build("resnet8")
    images = torch.randn(2, 1, 28, 28)
    with features(net, ["stage1", "stage2.0", "stage2.0.preactivation", "head"]) as maps:
        logits = net(images)
    assert list(maps) == ["stage1", "stage2.0.preactivation", "stage2.0", "head"]
    assert maps["stage1"].shape == (2, 16, 28, 28)
    assert torch.equal(maps["stage2.0"], maps["stage2.0.preactivation"].relu())
    assert maps["head"] is logits
    maps["stage2.0"].square().sum().backward()
    assert net.stem.conv.weight.grad.any()
    assert net.stage3[0].conv1.weight.grad is None
    assert hooks(net) == 0


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_features_of_other_libraries(library):
    net = build(f"{library}:resnet18", in_channels=3)
    with features(net, ["layer1", "layer2.0"]) as maps:
        logits = net(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert maps["layer1"].shape == (2, 64, 8, 8)
    assert maps["layer2.0"].shape == (2, 128, 4, 4)
    maps["layer2.0"].mean().backward()
    assert net.conv1.weight.grad.any()
    assert hooks(net) == 0


def test_features_are_filled_anew_by_each_call_and_keep_the_last():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.twofold = nn.Linear(1, 1, bias=False)
            self.rare = nn.Identity()
            nn.init.constant_(self.twofold.weight, 2)

        def forward(self, x):
            y = self.twofold(self.twofold(x))
            return self.rare(y) if x[0, 0] > 0 else y

    net = Twice()
    with features(net, ["twofold", "rare"]) as maps:
        net(torch.ones(1, 1))
        assert maps["twofold"].item() == maps["rare"].item() == 4
        net(-torch.ones(1, 1))
        assert maps["twofold"].item() == -4
        assert "rare" not in maps
        with pytest.raises(LookupError, match="module 'rare' has not run"):
            maps["rare"]


def test_features_under_autocast_and_inference_mode():
    net = build("resnet8")
    with features(net, ["stage1"]) as maps, torch.autocast("cpu", torch.bfloat16):
        net(torch.randn(2, 1, 28, 28))
    assert maps["stage1"].dtype == torch.bfloat16
    with features(net, ["stage1"]) as maps, torch.inference_mode():
        net(torch.randn(2, 1, 28, 28))
    assert not maps["stage1"].requires_grad


def test_hooks_are_removed_after_an_exception():
    net = build("resnet8")
    with pytest.raises(RuntimeError), features(net, ["stage1"]):
        net(torch.randn(2, 5, 28, 28))
    assert hooks(net) == 0


def test_features_refuse_what_they_cannot_give():
    net = build("resnet8")
    with pytest.raises(ValueError, match="ResNet has no module 'stage4': the nearest .*stage1"):
        features(net, ["stage1", "stage4"]).__enter__()
    with pytest.raises(ValueError, match="has no module ''"):
        features(net, [""]).__enter__()
    with pytest.raises(TypeError, match=r"use \['stage1'\]"):
        features(net, "stage1").__enter__()
    with features(net, ["stage1"]) as maps:
        pass
    with pytest.raises(LookupError, match="'stage1' has not run"):
        maps["stage1"]
    with pytest.raises(LookupError, match="'stage2' was not asked for; the paths are stage1"):
        maps["stage2"]
    assert hooks(net) == 0


def test_features_refuse_tuples_and_overwritten_outputs():
    net = nn.ModuleDict({"rnn": nn.LSTM(3, 4), "act": nn.Sequential(nn.Linear(3, 3))})
    with pytest.raises(TypeError, match="module 'rnn' returns a tuple, not a tensor"):  # noqa: SIM117
        with features(net, ["rnn"]):
            net["rnn"](torch.randn(2, 1, 3))
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    with features(net, ["0", "1"]) as maps:
        net(torch.randn(2, 3))
    assert maps["1"].min() >= 0
    with pytest.raises(RuntimeError, match=r"module '0' was overwritten in place"):
        maps["0"]


def test_module_paths_are_readable():
    assert module_paths(build("lenet5"))[:5] == [
        "stage1", "stage1.conv", "stage1.relu", "stage1.pool", "stage2",
    ]  # fmt: skip
    tops = {path.split(".")[0] for path in module_paths(build("wrn-10-1"))}
    assert tops == {"stem", "stage1", "stage2", "stage3", "final", "head"}
    shared = nn.Linear(2, 2)
    assert module_paths(nn.Sequential(shared, shared)) == ["0", "1"]
