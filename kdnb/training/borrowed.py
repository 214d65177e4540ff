"""A user's networks are theirs: what training changes of them besides numbers is put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def modes_kept(*networks: nn.Module) -> Iterator[None]:
    """Every submodule leaves the block in the mode, train or eval, in which it came."""
    before = [(part, part.training) for network in networks for part in network.modules()]
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


@contextlib.contextmanager
def by_batch_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, batch normalisations use the batch's statistics, and keep their running ones as they are."""
    norms = [
        part
        for part in network.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    before = [part.training for part in norms]
    try:
        for part in norms:
            part.training, part.track_running_stats = True, False
        yield
    finally:
        for part, training in zip(norms, before, strict=True):
            part.training, part.track_running_stats = training, True


@contextlib.contextmanager
def borrowed(*networks: nn.Module) -> Iterator[None]:
    """Modes, `requires_grad` and memory formats leave the block as they came, however it ends."""
    parameters = [(p, p.requires_grad) for network in networks for p in network.parameters()]
    formats = [
        (part, name, value.stride())
        for network in networks
        for part in network.modules()
        for name, value in (*part._parameters.items(), *part._buffers.items())
        if value is not None and value.ndim in (4, 5)
    ]
    with modes_kept(*networks):
        try:
            yield
        finally:
            for parameter, wanted in parameters:
                if parameter.requires_grad != wanted:
                    parameter.requires_grad_(wanted)
            for part, name, stride in formats:
                _lay_out(getattr(part, name, None), stride)


def _lay_out(value: Tensor | None, stride: tuple[int, ...]) -> None:
    """The same numbers with the strides that they had."""
    if value is None or value.stride() == stride or value.ndim != len(stride):
        return
    with torch.no_grad():
        there = torch.empty_strided(value.shape, stride, dtype=value.dtype, device=value.device)
        value.data = there.copy_(value)


def still_parts(network: nn.Module) -> list[nn.Module]:
    """Submodules that the user keeps in eval mode while the network trains: a frozen batch norm.

    A network that is in eval mode as a whole, such as a pretrained one, has none.
    """
    return [part for part in network.modules() if not part.training] if network.training else []


def takes_channels_last(network: nn.Module, images: Tensor) -> bool:
    """Whether a network still answers when its weights are laid out channels last.

    One that flattens by `view` does not. Whoever cannot answer these images in either format, such
    as a generator, is not asked about them. The network is left in the format that it is to have.
    """
    network.to(memory_format=torch.channels_last)
    if _answers(network, images):
        return True
    network.to(memory_format=torch.contiguous_format)
    if _answers(network, images):
        return False
    network.to(memory_format=torch.channels_last)
    return True


def _answers(network: nn.Module, images: Tensor) -> bool:
    devices = [images.device] if images.device.type == "cuda" else []
    with modes_kept(network), torch.no_grad(), torch.random.fork_rng(devices):
        try:
            network.eval()(images)
        except (RuntimeError, TypeError, ValueError):
            return False
    return True
