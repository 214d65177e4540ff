"""Random tensors for the tests of the losses, the same at every call."""

import torch

MAPS = (3, 4, 5, 2)  # a small batch of feature maps


def draw(*shape, scale=1.0, seed=0):
    """Standard normal float64 numbers times `scale`."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
