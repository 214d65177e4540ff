"""Real digits and garments, few and small, and teachers of them: for the tests of section 5.2."""

import copy
import functools

import torch

import kdnb
from kdnb import nets
from kdnb.nets.lenet import LeNet5
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=30, lr=1e-9, momentum=0.0, schedule="constant", precision="32")
QUICK = Recipe(epochs=2, batch_size=30, lr=3e-3, optimiser="adam", precision="32")


@functools.cache
def digits(count=120, name="mnist"):
    """Images and labels of the training set, ready for a network."""
    return kdnb.data.load(name).train.select(slice(count)).tensors()


def mlp(seed=0, widths=(24,), **options):
    torch.manual_seed(seed)
    return nets.build("mlp", widths=list(widths), **options)


def lenet(seed=0, widths=(3, 4, 12, 10), **options):
    torch.manual_seed(seed)
    return LeNet5(widths=widths, **options)


@functools.cache
def _trained(kind, seed, name):
    network = {"mlp": mlp, "lenet": lenet}[kind](seed)
    kdnb.train(network, digits(name=name), QUICK, epochs=8)
    return network


def teachers(*kinds, name="mnist"):
    """Trained networks, fresh copies: `teachers("mlp", "lenet")`."""
    return [copy.deepcopy(_trained(kind, seed, name)) for seed, kind in enumerate(kinds, 1)]


def state(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def unchanged(network, before):
    return all(torch.equal(before[key], value) for key, value in network.state_dict().items())
