"""Pictures, networks and critics of features, and a step checked by hand."""

import torch
from torch import nn

from kdnb.data import Batches, Images
from kdnb.methods.adversarial import (
    Critic,
)
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=40, lr=0.1, momentum=0.0, schedule="constant", precision="32")

QUICK = Recipe(epochs=2, batch_size=8, lr=0.02, precision="32")


def pictures(labels=None):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(40) % 3 if labels is None else labels)


def batches(size=8, labels=None):
    return Batches(pictures(labels), size, mean=(0.5,), sd=(0.3,))


def whole():
    return next(iter(batches(40)))


def network(seed, width=5):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.Tanh(), nn.Linear(width, 3))


def critic_of(inputs, kind=Critic):
    torch.manual_seed(7)
    return kind(inputs, widths=(6,))


def assert_step(moved, before, loss, rate=0.1):
    """The parameters moved by one gradient step of the loss, which was made of `before`."""
    gradients = torch.autograd.grad(loss, list(before.parameters()), allow_unused=True)
    for new, old, gradient in zip(moved.parameters(), before.parameters(), gradients, strict=True):
        step = 0 if gradient is None else rate * gradient
        torch.testing.assert_close(new, old - step, rtol=1e-4, atol=1e-6)


def assert_same(network_, state):
    assert all(torch.equal(value, state[key]) for key, value in network_.state_dict().items())
