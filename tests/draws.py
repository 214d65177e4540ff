"""Random tensors for the tests of the losses, the same at every call."""

import torch

MAPS = (3, 4, 5, 2)  # a small batch of feature maps


def draw(*shape, scale=1.0, seed=0):
    """Standard normal float64 numbers times `scale`."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def draw_wide(*shape, scale=3.0, seed=0):
    """Such numbers times 3, as logits are."""
    return draw(*shape, scale=scale, seed=seed)


def draw32(*shape, seed=0):
    """Standard normal float32 numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels_of(logits):
    """The labels 0, 1, 2, ... modulo the classes."""
    return torch.arange(len(logits)) % logits.shape[1]


def close_pairs(seed=0):
    """96 samples of width 512 in float32, every eighth of which has a double 1e-3 away."""
    samples = draw(96, 512, seed=seed)
    samples[1::8] = samples[::8] + 1e-3 * draw(12, 512, seed=seed + 1)
    return samples.float()
