"""A user's networks end where they began, on whatever device, also when a verb does not end well."""

import pytest
import torch
from torch import nn

import kdnb
from kdnb.training import borrowed
from kdnb.training.borrowed import borrowed as lent
from kdnb.training.borrowed import twin_of

QUICK = {"epochs": 1, "batch_size": 4, "lr": 0.01, "precision": "32"}
HERE, THERE = torch.device("cpu"), torch.device("cuda:1")


class Elsewhere(nn.Module):
    """A network that says it is on another device, and follows whoever moves it.

    Its numbers stay on the CPU, as machines without a second device must have it.
    """

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        self.device, self.route = THERE, []

    def to(self, *arguments, **named):
        for one in (*arguments, *named.values()):
            if isinstance(one, (torch.device, str)):
                self.device = torch.device(one)
                self.route.append(self.device)
        return self

    def forward(self, x):
        return self.body(x)


@pytest.fixture(autouse=True)
def devices(monkeypatch):
    found = borrowed._devices_of
    monkeypatch.setattr(
        borrowed,
        "_devices_of",
        lambda one: {one.device} if isinstance(one, Elsewhere) else found(one),
    )


DATA = torch.randn(8, 1, 3, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
VERBS = {
    "train": lambda one, two, **more: kdnb.train(one, DATA, **QUICK, **more),
    "distil": lambda one, two, **more: kdnb.distil(one, two, DATA, **QUICK, **more),
    "several": lambda one, two, **more: kdnb.distil(
        one, [two, Elsewhere(3)], DATA, **QUICK, **more
    ),
    "own": lambda one, two, **more: kdnb.distil(
        one, two, DATA, method=lambda s, t: (s - t).square().mean(), **QUICK, **more
    ),
    "mutual": lambda one, two, **more: kdnb.mutual([one, two], DATA, **QUICK, **more),
}


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("verb", VERBS)
def test_networks_are_put_back_where_they_were(verb, end):
    one, two = Elsewhere(), Elsewhere(1)

    def look(networks):
        assert one.device == HERE
        if end:
            raise end
        return {}

    if end:
        with pytest.raises(end):
            VERBS[verb](one, two, evaluate=look)
    else:
        VERBS[verb](one, two, evaluate=look)
    for network in (one,) if verb in ("train", "several") else (one, two):
        assert network.device == THERE
        assert HERE in network.route, "it never moved: the test shows nothing"


def test_each_part_of_a_network_on_several_devices_is_put_back():
    """Such as one of several teachers."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"), nn.ReLU())
    with pytest.raises(KeyboardInterrupt), lent(network):
        network.to_empty(device="cpu")
        raise KeyboardInterrupt
    assert [part.weight.device.type for part in network[:2]] == ["cpu", "meta"]


def test_a_network_is_moved_back_for_real():
    network = nn.Linear(2, 2, device="meta")
    with lent(network):
        network.to_empty(device="cpu")
    assert network.weight.device.type == "meta"


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm, lambda part: part])
def test_a_copy_has_weights_of_its_own(norm):
    torch.manual_seed(0)
    network = nn.Sequential(norm(nn.Linear(4, 3)), nn.ReLU(), nn.Linear(3, 3))
    inputs = torch.randn(5, 4)
    network(inputs).sum().backward()  # it may keep what it computed
    network.eval()
    twin = twin_of(network)
    assert torch.equal(twin(inputs), network(inputs))
    before = network(inputs).detach()
    twin(inputs).sum().backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter -= 0.1
    assert torch.equal(network(inputs), before)
    assert not torch.equal(twin(inputs), before)
