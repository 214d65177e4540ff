"""Small networks and a little data for the tests of quantized distillation."""

import copy
import functools

import torch
from several_teachers import digits
from torch import nn

import kdnb
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=60, lr=1e-9, momentum=0.0, schedule="constant", precision="32")
QUICK = Recipe(epochs=2, batch_size=30, lr=3e-3, optimiser="adam", precision="32")


def convnet(seed=0, width=4):
    """Two layers of weights between an image of 28x28 and 10 logits, with a ReLU module."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 5, stride=3), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Flatten(), nn.Linear(width * 64, 10),
    )  # fmt: skip


@functools.cache
def _trained(seed, width, epochs):
    network = convnet(seed, width)
    kdnb.train(network, digits(), QUICK, epochs=epochs)
    return network


def trained(seed=0, width=4, epochs=6):
    """A fresh copy of a trained network."""
    return copy.deepcopy(_trained(seed, width, epochs))


def teacher():
    return trained(seed=9, width=12)


def levels(layer):
    """How many different weights a layer has."""
    return len(layer.weight.detach().unique())
