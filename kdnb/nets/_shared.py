"""Shared by the networks: image sizes, argument checks, initial weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import psutil
import torch
from torch import nn

from kdnb.names import brief

LARGE = 4096  # only networks with a larger number among their arguments are checked


def height_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """The image size as (height, width), from one number for square images or from the pair."""
    pair = (image_size, image_size)
    if isinstance(image_size, Sequence):
        pair = tuple(image_size)
    if len(pair) != 2 or not all(_whole(side) for side in pair):
        raise ValueError(
            "image_size must be a whole number of pixels, or a pair (height, width), "
            f"above 0; got {brief(image_size)}."
        )
    return pair


def check_counts(**counts: int) -> None:
    """Require integers above 0; the keywords give the names."""
    for name, value in counts.items():
        if not _whole(value):
            raise ValueError(f"{name} must be a whole number above 0; got {brief(value)}.")


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def above_zero(value: object) -> bool:
    """Whether a value is a finite number above 0."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < value < math.inf


def at_least(name: str, image_size: int | Sequence[int], smallest: int) -> None:
    """Require images that are large enough for every halving in the network."""
    height, width = height_width(image_size)
    if min(height, width) < smallest:
        raise ValueError(
            f"{name} needs images of at least {smallest}x{smallest} pixels, because it "
            f"halves them on the way; got {height}x{width}. Enlarge them or take an mlp."
        )


def scaled(widths: Sequence[int], factor: float) -> list[int]:
    """Channels times a factor, rounded."""
    if not isinstance(factor, Real) or isinstance(factor, bool) or not 0 <= factor < math.inf:
        raise ValueError(f"width must be a finite number above 0; got {brief(factor)}.")
    found = [round(width * factor) for width in widths]
    if min(found) < 1:
        raise ValueError(f"width {brief(factor)} leaves a layer of {min(widths)} channels none.")
    return found


def check_fits(name: str, asked: Mapping[str, Any], make: Callable[[], nn.Module]) -> None:
    """Require that a network fits into memory, before building it.

    Args:
        name, asked: the requested network and its arguments.
        make: builds the network; called only for its sizes.

    Raises:
        ValueError: names the large numbers and the memory they would take.
    """
    large = [key for key, value in asked.items() if max(_numbers(value), default=0) > LARGE]
    if not large and max(map(int, re.findall(r"[0-9]+", name)), default=0) <= LARGE:
        return
    memory, size = psutil.virtual_memory().total, math.inf
    try:
        with torch.device("meta"):
            size = sum(4.0 * p.numel() for p in make().parameters())
    except (RuntimeError, OverflowError, TypeError) as error:
        if not re.search("overflow|too large|too big|out of range", str(error), re.IGNORECASE):
            return  # building it will raise the error
    if size > memory:
        words = ", ".join(f"{key}={brief(asked[key])}" for key in large)
        takes = f"{size / 1e9:,.0f} GB" if size < 1e18 else "far more"
        raise ValueError(
            f"{brief(name)} {f'with {words} ' if words else ''}would take {takes} for its weights, "
            f"and this machine has {memory / 1e9:,.0f} GB of memory."
        )


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Real):
        yield 0 if math.isnan(value) else value
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from _numbers(one)


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
