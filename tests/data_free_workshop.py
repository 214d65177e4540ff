"""For the tests of data-free distillation: small networks, and a data set that may not be touched."""

from dataclasses import dataclass, field

import torch
from torch import nn

from kdnb import data as datasets
from kdnb.data import Images
from kdnb.runs.task import built
from kdnb.runs.trials import Context


class Forbidden:
    """Stands where training images are, and fails the test when anything of it is used."""

    def __getattribute__(self, name):
        raise AssertionError(f"a training image was touched: .{name}")

    def __len__(self):
        raise AssertionError("the training images were counted")

    def __getitem__(self, index):
        raise AssertionError("a training image was read")


def guarded_mnist(monkeypatch, count=20):
    """Let `datasets.load` give MNIST's card with a few random test images and nothing else."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    source = datasets.ImageData(
        name="mnist", card=datasets.card("mnist"), train_all=Forbidden(), train=Forbidden(),
        validation=Forbidden(), test=Images(images, torch.arange(count) % 10),
        classes=tuple("0123456789"), mean=(0.1307,), sd=(0.3081,),
    )  # fmt: skip
    monkeypatch.setattr(datasets, "load", lambda name, **_: source)
    return source


def random_cifar():
    """Random images in place of CIFAR-10: 64 to train on, 8 held out, 20 to test."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count):
        images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return Images(images, torch.arange(count) % 10)

    train = drawn(64)
    return datasets.ImageData(
        name="cifar10", card=datasets.card("cifar10"), train_all=train, train=train,
        validation=drawn(8), test=drawn(20), classes=tuple("0123456789"),
        mean=(0.5,) * 3, sd=(0.25,) * 3,
    )  # fmt: skip


@dataclass
class FinishedTrial:
    """What a trial needs of a teacher's result."""

    description: dict
    held: dict = field(default_factory=dict)
    digest: str = "0"

    def tensors(self):
        return self.held


def teacher_trial(source, seed=7, **network):
    """A finished trial that trained this network (untrained here)."""
    network = network or {"name": "lenet5"}
    from kdnb.runs.functions.data_free import isolated

    made = built(network, isolated(source), seed)
    state = {f"network.{key}": value for key, value in made.state_dict().items()}
    return FinishedTrial({"arguments": {"data": {"name": "mnist"}, "network": network}}, state)


def context(folder):
    return Context(folder / "checkpoint")


def small_net(seed, classes=3, norm=False):
    """Images (batch, 1, 8, 8) -> logits."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten()]
    if norm:
        layers.insert(1, nn.BatchNorm2d(4))
    return nn.Sequential(*layers, nn.Linear(16, classes))


class Recorder(nn.Module):
    """A network that keeps the images it is shown."""

    def __init__(self, network):
        super().__init__()
        self.network, self.seen = network, []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return self.network(images)
