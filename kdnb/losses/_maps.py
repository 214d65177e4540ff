"""What the feature losses share: unit vectors that survive zeros, reductions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses.checks import at_least_float32


def check_layers(maps: Sequence, other: Sequence, name: str = "teacher layers") -> None:
    """Require as many maps as there are layers on the other side, at least one."""
    if len(maps) != len(other) or len(maps) == 0:
        raise ValueError(f"got {len(maps)} maps for {len(other)} {name}; one each is needed.")


def no_autocast(value: Tensor) -> torch.autocast:
    """Inside, matrix products keep their inputs' precision."""
    return torch.autocast(value.device.type, enabled=False)


def unit(value: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Divide by the L2 norm along `dim`; a zero vector stays zero.

    The gradient of a zero vector passes as it is; dividing by max(norm, 1e-12) would multiply
    it by 1e12.
    """
    value = at_least_float32(value)
    norm = torch.linalg.vector_norm(value, dim=dim, keepdim=True)
    return value / torch.where(norm > 0, norm, torch.ones_like(norm))


def squared_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared L2 distance of each sample, averaged over the batch."""
    difference = at_least_float32(student) - at_least_float32(teacher)
    return difference.square().flatten(1).sum(dim=1).mean()


def mean_squared(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference averaged over every element."""
    return (at_least_float32(student) - at_least_float32(teacher)).square().mean()
