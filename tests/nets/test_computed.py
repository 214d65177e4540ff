"""What the networks compute: gradients, definitions, initial weights, precision, max-norm."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from kdnb.nets import build, constrain, constraint, features
from kdnb.nets.maxout import Maxout

SMALL = [
    "mlp", "lenet5", "lenet5_half_dafl", "lenet5_half_zskd", "resnet8", "resnet14", "resnet8x4",
    "wrn-16-1", "wrn-16-2", "wrn-10-3", "vgg8",
]  # fmt: skip


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


def test_maxout_is_the_largest_piece():
    torch.manual_seed(0)
    layer = Maxout(2, 3, kernel=3, padding=1, pieces=4).double()
    images = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    pieces = layer.conv(images)
    expected = torch.stack(
        [torch.stack([pieces[:, p * 3 + c] for p in range(4)]).amax(0) for c in range(3)], 1
    )
    assert torch.equal(layer(images), expected)


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
    with pytest.raises(ValueError, match="irange must be a number above 0, or None; got 0"):
        build("fitnet_mnist", irange=0)


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


def test_a_constraint_does_as_constrain_and_is_none_without_a_bound():
    one, other = (build("mlp", widths=[9, 8], image_size=6, max_norm=0.1) for _ in range(2))
    other.load_state_dict(one.state_dict())
    constrain(one)
    constraint(nn.Sequential(other))()
    assert all(
        torch.equal(value, one.state_dict()[key]) for key, value in other.state_dict().items()
    )
    assert other.hidden[0].linear.weight.norm(dim=1).max() < 0.1001
    maxout = build("fitnet_mnist")
    with torch.no_grad():
        maxout.layers[0].maxout.conv.weight.mul_(100)
    constraint(maxout)()
    assert maxout.layers[0].maxout.conv.weight.flatten(1).norm(dim=1).max() < 0.91
    assert constraint(build("mlp", widths=[9])) is None and constraint(build("lenet5")) is None


def test_constrain_leaves_other_networks_alone():
    for net in (build("mlp", widths=[9]), build("lenet5"), nn.Linear(3, 4)):
        before = {key: value.clone() for key, value in net.state_dict().items()}
        constrain(net)
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


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


# --- storage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_state_survives_safetensors(name, tmp_path):
    first, second = build(name), build(name)
    first(torch.randn(4, 1, 28, 28))
    save_file(first.state_dict(), tmp_path / "net.safetensors")  # refuses shared tensors
    second.load_state_dict(load_file(tmp_path / "net.safetensors"))
    images = torch.randn(2, 1, 28, 28)
    assert torch.equal(first.eval()(images), second.eval()(images))
