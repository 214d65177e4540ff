"""Batch normalisations folded into convolutions: the same answers, and only where that is safe."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from kdnb import data, nets
from kdnb.methods.offline.distil import distil
from kdnb.training import Recipe, Update, fit, wrapped
from kdnb.training.folded import folded


def norms(network):
    return [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def settled(network, seed=0):
    """A network whose normalisations do something."""
    stream = torch.Generator().manual_seed(seed)
    for norm in norms(network):
        norm.running_mean.normal_(0, 0.2, generator=stream)
        norm.running_var.uniform_(0.3, 2, generator=stream)
        if norm.affine:
            norm.weight.data.uniform_(0.5, 2, generator=stream)
            norm.bias.data.normal_(0, 0.2, generator=stream)
    return network


def pair(convolution=None, norm=None):
    torch.manual_seed(0)
    return settled(nn.Sequential(convolution or nn.Conv2d(3, 4, 3), norm or nn.BatchNorm2d(4)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_the_folded_convolution_is_that_of_the_formula(bias, affine):
    network = pair(nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4, affine=affine)).double()
    convolution, norm = network
    with torch.no_grad():
        scale = 1 / torch.sqrt(norm.running_var + norm.eps)
        scale = scale * norm.weight if affine else scale
        shift = (convolution.bias if bias else 0) - norm.running_mean
        shift = shift * scale + (norm.bias if affine else 0)
        weight = torch.stack([s * w for s, w in zip(scale, convolution.weight, strict=True)])
    (own,) = [p for p in folded(copy.deepcopy(network).float()).modules() if type(p) is nn.Conv2d]
    torch.testing.assert_close(own.weight.double(), weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own.bias.double(), shift, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "left"),
    [("resnet8", 0), ("resnet8x4", 0), ("vgg8", 0), ("tiny", 0), ("plain4", 0), ("wrn-16-1", 7),
     ("torchvision:mobilenet_v2", 0), ("torchvision:densenet121", 62)],
)  # fmt: skip
def test_a_folded_network_gives_the_same_answers(name, left):
    network = settled(nets.build(name, num_classes=7, in_channels=3, image_size=32))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    own = folded(network)
    assert own is not network and len(norms(own)) == left
    assert not own.training and not any(p.requires_grad for p in own.parameters())
    images = torch.randn(3, 3, 32, 32)
    assert network.training and all(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        torch.testing.assert_close(own(images), network.eval()(images), rtol=1e-4, atol=1e-5)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


class Foreign(nn.Module):
    """A user's module, whose Python may have effects that a trace would lose."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = pair(), 0

    def forward(self, images):
        self.calls += 1
        return self.inner(images)


def hooked():
    network = pair()
    network[0].register_forward_hook(lambda module, inputs, answer: answer + 1)
    return network


def replaced():
    network = pair()
    network[1].forward = lambda images: images
    return network


def shared():
    """One convolution, two normalisations: no weights serve both."""
    convolution = nn.Conv2d(3, 3, 1)
    return settled(nn.Sequential(convolution, nn.BatchNorm2d(3), convolution, nn.BatchNorm2d(3)))


def parametrised():
    network = pair()
    nn.utils.parametrizations.weight_norm(network[0])
    return network


@pytest.mark.parametrize(
    "network",
    [
        Foreign(), nn.Sequential(Foreign()), hooked(), replaced(), shared(), parametrised(),
        pair().half(), pair().double(), torch.jit.trace(pair().eval(), torch.randn(1, 3, 8, 8)),
        torch.compile(pair()), nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Sequential(nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4)),
    ],
    ids=["a user's class", "one within", "a hook", "another forward", "a shared convolution",
         "weight norm", "half", "double", "scripted", "compiled", "no normalisation", "nothing before",
         "no statistics", "a ReLU between", "synchronised"],
)  # fmt: skip
def test_other_networks_stay_as_they_are(network):
    assert folded(network) is network


def test_a_map_that_two_layers_read_is_not_folded_away():
    block = nets.build("torchvision:densenet121", num_classes=3, in_channels=3, image_size=32)
    assert len(norms(block)) > len(norms(folded(block))) > 0


def batches():
    few = data.load("mnist").train.select(slice(None, 64))
    return data.Batches(few, 32, mean=(0.13,), sd=(0.31,), crop_padding=2)


RECIPE = Recipe(epochs=1, batch_size=32, lr=0.01, precision="32")


def test_distillation_asks_the_folded_teacher(monkeypatch, tmp_path):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    teacher = settled(nets.build("resnet8", in_channels=1, image_size=28))
    made, students = [], []
    monkeypatch.setattr(wrapped, "_copies", {})  # no copy of another test's teacher
    for fold in (lambda network: made.append(folded(network)) or made[-1], lambda network: network):
        monkeypatch.setattr(wrapped, "folded", fold)
        wrapped._copies.clear()
        monkeypatch.setenv("KDNB_RUNS", str(tmp_path / str(len(students))))
        torch.manual_seed(0)
        students.append(nets.build("lenet5_half_dafl"))
        distil(students[-1], teacher, batches(), RECIPE)
    assert len(made) == 1 and not norms(made[0]) and norms(teacher)
    for one, other in zip(*(student.parameters() for student in students), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_copy_of_the_run_before_serves_the_same_teacher(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(wrapped, "folded", lambda network: made.append(folded(network)) or made[-1])
    monkeypatch.setattr(wrapped, "_copies", {})
    teacher = settled(nets.build("resnet8", in_channels=1, image_size=28))

    def distilled(folder):
        monkeypatch.setenv("KDNB_RUNS", str(tmp_path / folder))
        distil(nets.build("lenet5_half_dafl"), teacher, batches(), RECIPE)
        return len(made)

    assert [distilled("a"), distilled("b"), distilled("b")] == [1, 1, 1]
    with torch.no_grad():
        next(teacher.parameters()).mul_(2)
    assert distilled("a") == 2  # other weights are another teacher
    assert list(wrapped._copies.values()) == made


def test_the_copies_used_last_are_kept(monkeypatch):
    """Students of several teachers in turns translate none of them twice; memory has a bound."""
    monkeypatch.setattr(wrapped, "_copies", {})
    teachers = [pair() for _ in range(wrapped.KEPT + 1)]
    for number, one in enumerate(teachers):
        one.scale = float(number)
    first, second, *_ = copies = [wrapped._settled(one, "name") for one in teachers[:-1]]
    assert [wrapped._settled(one, "name") for one in teachers[:-1]] == copies
    assert wrapped._settled(teachers[0], "name") is first
    copies.append(wrapped._settled(teachers[-1], "name"))
    assert len(wrapped._copies) == wrapped.KEPT
    assert wrapped._settled(teachers[0], "name") is first
    assert wrapped._settled(teachers[1], "name") is not second  # used least recently


def test_networks_of_the_same_weights_and_other_settings_have_copies_of_their_own(monkeypatch):
    monkeypatch.setattr(wrapped, "_copies", {})
    one, other = pair(), pair()
    first = wrapped._settled(one, "name")
    assert wrapped._settled(other, "name") is first
    other.scale = 2.0  # as a `forward` might read it
    assert wrapped._settled(other, "name") is not first


def test_a_frozen_network_whose_weights_change_is_asked_as_it_is_now():
    """A mean teacher moves after every step, though no update names it."""
    student, mean = (settled(nets.build("resnet8", in_channels=1, image_size=28)) for _ in "ab")
    said = []

    def losses(networks, batch):
        with torch.no_grad():
            said.append(networks["mean"](batch.images).abs().max())
        return {
            "hard": nn.functional.cross_entropy(networks["student"](batch.images), batch.labels)
        }

    def after():
        for parameter in mean.parameters():
            parameter.data.zero_()

    fit({"student": student, "mean": mean}, batches(), Update(("student",), losses, after=after), RECIPE)  # fmt: skip
    assert said[0] > 0 and said[-1] == 0


def test_large_tensors_come_in_huge_pages():
    modes = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not modes.exists() or "[never]" in modes.read_text():
        pytest.skip("this system gives no huge pages on request")
    code = (
        "import torch, kdnb, resource as r\n"
        "faults = lambda: r.getrusage(r.RUSAGE_SELF).ru_minflt\n"
        "before = faults(); torch.zeros(16 << 20); print(faults() - before)"
    )

    def faults(**environment):
        whole = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"} | environment
        ran = subprocess.run(
            [sys.executable, "-c", code], env=whole, capture_output=True, check=True
        )
        return int(ran.stdout)

    assert faults() < 0.5 * faults(THP_MEM_ALLOC_ENABLE="0")
