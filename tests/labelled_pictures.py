"""Labelled pictures in batches."""

import torch

from kdnb.data import Batches, Images
from kdnb.training import Recipe

ADAM = Recipe(epochs=2, batch_size=8, lr=0.01, optimiser="adam", schedule="constant",
              precision="32")  # fmt: skip


def pictures(count=24):
    """Three classes of stripes under a little noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    waves = (torch.arange(8) * (1 + labels[:, None])).mul(0.8).sin()
    images = 128 + 80 * waves[:, None, None, :] + 10 * torch.randn(
        count, 1, 8, 8, generator=generator)  # fmt: skip
    return Images(images.clamp(0, 255).to(torch.uint8), labels)


def batches(size=8, **options):
    return Batches(pictures(), size, mean=(0.5,), sd=(0.3,), **options)
