"""Small networks with several branches."""

import torch
from torch import nn

from kdnb import nets
from kdnb.data import Batches, Images
from kdnb.methods import online
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")

STEP = Recipe(epochs=1, batch_size=8, lr=0.1, momentum=0.0, schedule="constant", precision="32")


def pictures(count=16, size=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % 3)


def large(count=16):
    return Batches(pictures(count), 8, mean=(0.5,), sd=(0.3,))


def example():
    return next(iter(large())).images


def resnets(count, name="resnet8"):
    torch.manual_seed(0)
    return [nets.build(name, num_classes=3, image_size=8) for _ in range(count)]


def branched(count=3, at="stage3"):
    return online.Branches.split(resnets(count), at, example())


def tiny(count=3):
    """Linear heads on a shared linear stem, whose gradients are easily derived."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.Tanh())
    heads = [nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)) for _ in range(count)]
    return online.Branches(stem, *heads)
