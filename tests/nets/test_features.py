"""Features by module path: what comes out, what is refused, and no hook stays behind."""

import pytest
import torch
from torch import nn

from kdnb.nets import build, features, module_paths


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
