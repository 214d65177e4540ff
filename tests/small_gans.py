"""Batches, a generator and a critic for the tests of GANs."""

import torch
from torch import nn

from kdnb.data import Batches, Images
from kdnb.methods.adversarial import (
    ImageGenerator,
)
from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.02, precision="32")


def batches(size=8, seed=0, labels=None):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (40, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(40) % 3 if labels is None else labels
    return Batches(Images(images, labels), size, mean=(0.5,), sd=(0.3,))


def generator_of(seed, width=4):
    torch.manual_seed(seed)
    return ImageGenerator(latent=3, image_size=8, width=width)


class Constant(nn.Module):
    """A generator without noise: the same image again and again, so that a step can be redone."""

    latent = 2

    def __init__(self, value):
        super().__init__()
        self.image = nn.Parameter(torch.full((1, 8, 8), value))

    def forward(self, noise):
        return self.image.expand(len(noise), -1, -1, -1)
