"""A finished run is nobody else's result: whatever a run rests on is part of its checkpoint."""

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import kdnb
from kdnb.data import Batches, Images
from kdnb.training import Recipe
from kdnb.training.layers import Layers

QUICK = {"epochs": 2, "batch_size": 8, "lr": 0.05, "momentum": 0.0, "precision": "32"}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def data(seed=0):
    return draw(16, 6, seed=seed), torch.arange(16) % 3


def built(*parts):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), *parts, nn.Linear(4, 3))


class Scaled(nn.Module):
    """A setting that neither the weights nor the printed network show."""

    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(0)
        self.scale, self.head = scale, nn.Linear(6, 3)

    def forward(self, x):
        return self.scale * self.head(x)


class Masked(nn.Module):
    """A buffer that is in no state_dict."""

    def __init__(self, value):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(6, 3)
        self.register_buffer("mask", torch.full((6,), value), persistent=False)

    def forward(self, x):
        return self.head(self.mask * x)


class Two(nn.Module):
    """Two answers under two names."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.one, self.other = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        x = x.flatten(1)
        return {"one": self.one(x), "other": self.other(x)}


class Read(Dataset):
    """Samples that are made when they are asked for."""

    def __init__(self, factor):
        self.factor = factor

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return self.factor * data()[0][index], index % 3


def of_one_name(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(6, 3)

    Net.forward = function
    return Net()


def frozen(still):
    network = built(nn.ReLU())
    network[0].requires_grad_(not still)
    return network


def in_eval(still):
    network = built(nn.BatchNorm1d(4))
    network[1].train(not still)
    return network


def train(network, examples=None, **options):
    return kdnb.train(network, examples or data(), **QUICK, **options)


def distil(**options):
    return kdnb.distil(built(nn.ReLU()), built(nn.Tanh()), data(), **QUICK, **options)


def teaching(output):
    return {"output": (None, output)}


CHANGES = {
    "dropout": lambda file, other: train(built(nn.Dropout(0.9 if other else 0.1)), checkpoint=file),
    "activation": lambda file, other: train(
        built(nn.Tanh() if other else nn.ReLU()), checkpoint=file
    ),
    "attribute": lambda file, other: train(Scaled(2.0 if other else 1.0), checkpoint=file),
    "buffer": lambda file, other: train(Masked(2.0 if other else 1.0), checkpoint=file),
    "forward": lambda file, other: train(
        of_one_name(
            (lambda self, x: self.head(x).tanh()) if other else (lambda self, x: self.head(x))
        ),
        checkpoint=file,
    ),
    "frozen": lambda file, other: train(frozen(other), checkpoint=file),
    "eval mode": lambda file, other: train(in_eval(other), checkpoint=file),
    "output": lambda file, other: train(
        Two(), output="other" if other else "one", checkpoint=file
    ),
    "ignore_index": lambda file, other: train(
        built(nn.ReLU()), ignore_index=1 if other else 0, checkpoint=file
    ),
    "ignore_index of distil": lambda file, other: distil(
        ignore_index=1 if other else 0, checkpoint=file
    ),
    "layers": lambda file, other: distil(
        method="projected_hint",
        weight=1.0,
        layers=(Layers(("0",), embedding="1" if other else "0", head="2"),) * 2,
        checkpoint=file,
    ),
    "samples": lambda file, other: train(
        built(nn.ReLU()), Read(2.0 if other else 1.0), checkpoint=file
    ),
    "output of several teachers": lambda file, other: kdnb.distil(
        built(nn.ReLU()), [Two(), Two()], data(), checkpoint=file, **QUICK,
        **teaching("other" if other else "one"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_of_other_networks_or_data_is_refused(change, tmp_path):
    run, file = CHANGES[change], tmp_path / "c"
    first = run(file, False)
    assert run(file, False).history.equals(first.history)
    with pytest.raises(ValueError, match="belongs to another run"):
        run(file, True)


def test_a_checkpoint_may_lie_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    train(built(nn.ReLU()), checkpoint="~/run")
    assert (tmp_path / "run").is_file()


class Counting(nn.Module):
    """What a buffer outside the state_dict counts shapes the answer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(6, 3)
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.steps += 1
        return self.head(x) * (1 + self.steps / 10)


def test_buffers_outside_the_state_dict_are_resumed(tmp_path):
    whole, epochs = Counting(), []

    def interrupt(networks):
        epochs.append(len(epochs))
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return {}

    history = train(whole, evaluate=lambda networks: {}).history
    with pytest.raises(KeyboardInterrupt):
        train(Counting(), evaluate=interrupt, checkpoint=tmp_path / "c")
    resumed = Counting()
    again = train(resumed, evaluate=lambda networks: {}, checkpoint=tmp_path / "c").history
    assert again.hard.equals(history.hard)
    assert torch.equal(resumed.steps, whole.steps)
    assert torch.equal(resumed.head.weight, whole.head.weight)


def test_two_answers_of_one_teacher_are_kept_apart_on_disk():
    pixels = (draw(16, 1, 2, 3) * 40 + 128).clamp(0, 255).byte()
    recipe = Recipe(epochs=2, batch_size=8, lr=0.05, crop_padding=1, flip=True, precision="32")

    def taught(output, seed):
        batches = Batches(
            Images(pixels, torch.arange(16) % 3), 8, mean=(0.5,), sd=(0.2,), seed=seed,
            crop_padding=1, flip=True,
        )  # fmt: skip
        torch.manual_seed(1)
        student = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
        fit = kdnb.distil(student, Two(), batches, recipe, seed=seed, **teaching(output))
        return fit.history.kd.tolist()

    by_hand = taught(lambda answer: answer["other"].clone(), 1)
    taught("one", 0)
    assert taught("other", 1) == by_hand
