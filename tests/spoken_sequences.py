"""Sequences that acoustic models learn in a second: a token is a bump in one of a frame's numbers."""

import torch

from kdnb import Recipe
from kdnb.data.strings import digit_strings

FEATURES, TOKENS = 3, 3
RECIPE = Recipe(epochs=3, batch_size=8, optimiser="adam", lr=0.02, precision="32")


def bumps(lines=24, seed=0, noise=0.1):
    """Lines of one to three tokens, each two frames wide, with gaps of one or two."""
    images = torch.zeros(TOKENS, FEATURES, 2)
    images[torch.arange(TOKENS), torch.arange(TOKENS)] = 1.0
    return digit_strings(
        images, torch.arange(TOKENS), lines, digits=(1, 3), gaps=(1, 2), noise=noise, seed=seed
    )
