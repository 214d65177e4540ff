"""Pictures, batches and a small network for the tests of other views."""

import torch
from torch import nn

from kdnb.data import Batches, Images
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")


def pictures(count=40, side=6):
    """Every image's first pixel is its number, so that it can be told after a shuffle."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, side, side), generator=generator, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    return Images(images, torch.arange(count) % 3)


def batches(**options):
    return Batches(pictures(), 8, mean=(0.0,), sd=(1.0,), **options)


class Small(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.pool = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU())
        self.head = nn.Linear(5, classes)

    def forward(self, images):
        return self.head(self.pool(images))


def small(seed=0):
    torch.manual_seed(seed)
    return Small()
