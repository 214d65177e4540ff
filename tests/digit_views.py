"""Real pairs: digits at two resolutions and in halves, and small networks of them."""

from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from kdnb import data
from kdnb.training import Recipe

ADAM = Recipe(
    epochs=30, batch_size=50, optimiser="adam", lr=0.01, schedule="constant", precision="32"
)


@cache
def digits(split="train", count=600):
    """Views {"whole": 14 x 14, "small": 4 x 4, "left", "right": halves of 14 x 14} as rows, and labels."""
    images = getattr(data.load("mnist"), split).select(slice(count))
    pixels = images.images.float() / 255
    whole = F.avg_pool2d(pixels, 2)
    views = {
        "whole": whole, "small": F.avg_pool2d(pixels, 7),
        "left": whole[..., :7], "right": whole[..., 7:],
    }  # fmt: skip
    return {name: view.flatten(1) for name, view in views.items()}, images.labels


def net(inputs, seed=0, width=20, classes=10):
    """Its features are the output of "1"."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, classes))


def right(network, view, split="validation"):
    views, labels = digits(split)
    with torch.no_grad():
        return float((network(views[view]).argmax(1) == labels).float().mean())


def assert_moved(network, before, loss):
    """One step of gradient descent at 0.01 from the weights `before`, of which the loss was made."""
    gradients = torch.autograd.grad(
        loss, list(before.parameters()), allow_unused=True, retain_graph=True
    )
    for new, old, gradient in zip(
        network.parameters(), before.parameters(), gradients, strict=True
    ):
        step = 0 if gradient is None else 0.01 * gradient
        torch.testing.assert_close(new, old - step, rtol=1e-3, atol=1e-6)
