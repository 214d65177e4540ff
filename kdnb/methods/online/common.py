"""Shared code for online methods: batches, ramped weights, and side evaluations of a network."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.nets import constrain
from kdnb.training.borrowed import shared_part
from kdnb.training.first import check_module

__all__ = [
    "Distortion",
    "Ramp",
    "check_networks",
    "constrain_all",
    "in_passing",
    "ramp_up",
    "running_statistics_kept",
    "shifted",
]

Distortion = Callable[[Tensor], Tensor]  # of a batch of images


def ramp_up(epoch: int, epochs: int) -> float:
    r"""The current share of a weight: exp(-5 (1 - t)²), t = min(epoch / epochs, 1).

    From Laine and Aila 2017, section 3.1; also used by mean teacher, ONE, FFL and OKDDip.

    >>> ramp_up(0, 80), ramp_up(80, 80), ramp_up(0, 0)
    (0.006737946999085467, 1.0, 1.0)
    """
    return math.exp(-5 * (1 - min(epoch / epochs, 1)) ** 2) if epochs else 1.0


class Ramp:
    """A weight that follows `ramp_up`; `begin` is passed to the `Update`."""

    def __init__(self, weight: float, epochs: int):
        if epochs < 0:
            raise ValueError(f"ramp_up counts epochs, at least 0; got {epochs}.")
        self.full, self.epochs, self.now = weight, epochs, 0.0

    def begin(self, epoch: int) -> None:
        self.now = self.full * ramp_up(epoch, self.epochs)


@contextlib.contextmanager
def running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """A context in which batch normalisation in train mode keeps its running statistics."""
    tracking = [
        part
        for part in network.modules()
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.track_running_stats
    ]
    for part in tracking:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in tracking:
            part.track_running_stats = True


def in_passing(network: nn.Module, images: Any) -> Tensor:
    """The answer of a network in training to a batch, without a gradient.

    Batch normalisation uses the batch, as in the network's own training step, but its running
    statistics are not updated a second time.
    """
    with torch.no_grad(), running_statistics_kept(network):
        return network(images)


def shifted(images: Tensor, *, most: float = 0.125) -> Tensor:
    """Shift each image at random in every call: a view that keeps its label.

    Args:
        images: (batch, channels, height, width). The border is replicated.
        most: the largest shift in each direction, as a share of the side.

    Returns:
        The shifted images. Draws from torch's random state.

    Raises:
        ValueError: for wrong shapes.
    """
    if images.ndim != 4:
        raise ValueError(
            "views are made of images (batch, channels, height, width): give view= a distortion of "
            f"your own, or None; got {tuple(images.shape)}."
        )
    count, _, *sides = images.shape
    reach = [max(1, round(most * side)) for side in sides]
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]), mode="replicate")
    rows, columns = (
        torch.randint(2 * far + 1, (count, 1), device=images.device)
        + torch.arange(side, device=images.device)
        for far, side in zip(reach, sides, strict=True)
    )
    which = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None]].movedim(3, 1)


def check_networks(networks: Mapping[str, nn.Module]) -> None:
    """Require at least two networks, without trained parameters in common."""
    for name, network in networks.items():
        check_module(f"network {name!r}", network)
    if len(networks) < 2:
        raise ValueError(f"learning from each other takes 2 networks or more; got {len(networks)}.")
    for (one, ours), (other, theirs) in combinations(networks.items(), 2):
        if shared := shared_part(ours, theirs):
            raise ValueError(f"the networks {one!r} and {other!r} share {shared}.")


def constrain_all(networks: Mapping[str, nn.Module]) -> None:
    """`constrain` every network, after a step that moved them together."""
    for network in networks.values():
        constrain(network)
