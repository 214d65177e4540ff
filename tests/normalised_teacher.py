"""A small teacher with batch normalisation."""

import data_free_workshop as workshop
import torch

from kdnb.methods.data_free import (
    Generator,
)

LABELS = torch.arange(12) % 3


def teacher():
    """A network whose running statistics are those of some data."""
    network = workshop.small_net(1, norm=True).train()
    with torch.no_grad():
        for seed in range(30):
            generator = torch.Generator().manual_seed(seed)
            network(2 + 0.5 * torch.randn(16, 1, 8, 8, generator=generator))
    return network.eval()


def small():
    torch.manual_seed(0)
    return Generator(width=4, image_size=8, latent=5)
