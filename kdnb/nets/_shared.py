"""What the networks share: image sizes, checks of their arguments, initial weights."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import nn


def height_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """The image size as (height, width), from one number for square images or from the pair."""
    pair = (image_size, image_size)
    if isinstance(image_size, Sequence):
        pair = tuple(image_size)
    if len(pair) != 2 or not all(_whole(side) for side in pair):
        raise ValueError(
            "image_size must be a whole number of pixels, or a pair (height, width), "
            f"above 0; got {image_size!r}."
        )
    return pair


def check_counts(**counts: int) -> None:
    """Require whole numbers above 0; names come from the keywords."""
    for name, value in counts.items():
        if not _whole(value):
            raise ValueError(f"{name} must be a whole number above 0; got {value!r}.")


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def at_least(name: str, image_size: int | Sequence[int], smallest: int) -> None:
    """Require images that are large enough for every halving on the network's way."""
    height, width = height_width(image_size)
    if min(height, width) < smallest:
        raise ValueError(
            f"{name} needs images of at least {smallest}x{smallest} pixels, because it "
            f"halves them on the way; got {height}x{width}. Enlarge them or take an mlp."
        )


def scaled(widths: Sequence[int], factor: float) -> list[int]:
    """Channels times a factor, rounded."""
    found = [round(width * factor) for width in widths]
    if min(found) < 1:
        raise ValueError(f"width {factor!r} leaves a layer of {min(widths)} channels none.")
    return found


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """He's normal initialisation by fan-out for convolutions, 1 and 0 for batch normalisation.

    The standard deviation is sqrt(2 / (k² · out_channels)) (He et al. 2015, 1502.01852, the
    backward case of section 2.2), as in the public code of the CIFAR families. Linear layers keep
    PyTorch's default.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def global_pool() -> nn.Sequential:
    """The mean over height and width: (B, C, H, W) -> (B, C)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
