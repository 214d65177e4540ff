"""Batches and a small network for the tests of softened labels."""

import torch
from torch import nn

from kdnb.data import Batches, Images
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")


def batches(**options):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Batches(Images(images, torch.arange(40) % 3), 8, mean=(0.5,), sd=(0.3,), **options)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU())
        self.head = nn.Linear(5, 3)

    def forward(self, images):
        return self.head(self.body(images))


def small(seed=0):
    torch.manual_seed(seed)
    return Small()
