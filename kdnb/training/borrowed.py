"""Users' networks are only borrowed: training restores everything it changes except their numbers."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data.forms import tensors_in
from kdnb.training.answers import ask
from kdnb.training.randomness import own_random_state


def twin_of(network: nn.Module) -> nn.Module:
    """A copy with weights of its own.

    As `copy.deepcopy`, which refuses a network that keeps what it computes with gradients, such as
    the weights of `torch.nn.utils.weight_norm`: the copy has their values, until it runs.
    """
    kept = (
        value
        for part in network.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    )
    return copy.deepcopy(network, {id(value): value.detach().clone() for value in kept})


@contextlib.contextmanager
def modes_kept(*networks: nn.Module) -> Iterator[None]:
    """Restore the mode, train or eval, of every submodule after the block.

    Modules of `torch.jit.freeze` have none.
    """
    parts = (part for network in networks for part in network.modules())
    before = [(part, part.training) for part in parts if hasattr(part, "training")]
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


@contextlib.contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Put networks in eval mode inside the block; restore the mode of every submodule afterwards."""
    with modes_kept(*networks):
        for network in networks:
            network.eval()
        yield


@contextlib.contextmanager
def by_batch_statistics(network: nn.Module) -> Iterator[None]:
    """Inside the block, batch normalisations use batch statistics and do not update their running ones."""
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
    """Always restore modes, `requires_grad`, memory formats and devices after the block."""
    homes = [home for network in networks for home in _homes(network)]
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
            for part, device in homes:
                if _devices_of(part) != {device}:
                    part.to(device)
            for part, name, stride in formats:
                _lay_out(getattr(part, name, None), stride)


def _homes(network: nn.Module) -> list[tuple[nn.Module, torch.device]]:
    """The device of a network; for one on several devices, such as several teachers, those of its parts."""
    devices = _devices_of(network)
    if len(devices) > 1:
        return [home for part in network.children() for home in _homes(part)]
    return [(network, device) for device in devices]


def _lay_out(value: Tensor | None, stride: tuple[int, ...]) -> None:
    """The same numbers with their former strides."""
    if value is None or value.stride() == stride or value.ndim != len(stride):
        return
    with torch.no_grad():
        there = torch.empty_strided(value.shape, stride, dtype=value.dtype, device=value.device)
        value.data = there.copy_(value)


def still_parts(network: nn.Module) -> list[nn.Module]:
    """Submodules that the user keeps in eval mode during training, such as a frozen batch norm.

    A network that is in eval mode as a whole, such as a pretrained one, has none.
    """
    return [part for part in network.modules() if not part.training] if network.training else []


def shared_part(one: nn.Module, other: nn.Module) -> str | None:
    """A part that two networks share, so that training one would change the other; None if there is none.

    Parameters and buffers; and modules that draw random numbers while training, since their mode
    belongs to both. Modules without a state, such as a ReLU, may be shared.
    """
    theirs = {id(value) for value in (*other.parameters(), *other.buffers())}
    for kind, named in (("parameters", one.named_parameters()), ("buffers", one.named_buffers())):
        if any(id(value) in theirs for _, value in named):
            return kind
    parts = {id(part) for part in other.modules()}
    drawing = (nn.modules.dropout._DropoutNd, nn.RReLU)
    for path, part in one.named_modules():
        if id(part) in parts and isinstance(part, drawing):
            return f"the module {path!r}"
    return None


def takes_channels_last(network: nn.Module, inputs: Any, trained: bool = False) -> bool:
    """Whether a network still works with its weights in channels-last format.

    A network that flattens by `view` does not. A network that cannot take these inputs in either
    format, such as a generator, is not tested. The network is left in the format to be used.

    Args:
        trained: whether it must also work in train mode, with a backward pass.
    """
    network.to(memory_format=torch.channels_last)
    if _answers(network, inputs) and (not trained or _learns(network, inputs)):
        return True
    network.to(memory_format=torch.contiguous_format)
    if _answers(network, inputs):
        return False
    network.to(memory_format=torch.channels_last)
    return True


def _answers(network: nn.Module, inputs: Any) -> bool:
    with evaluating(network), torch.no_grad(), own_random_state(_device_of(network)):
        try:
            ask(network, inputs)
        except (RuntimeError, TypeError, ValueError):
            return False
    return True


def _learns(network: nn.Module, inputs: Any) -> bool:
    """Whether a copy of a network can run forward and backward in train mode."""
    with own_random_state(_device_of(network)), torch.enable_grad():
        try:
            twin = twin_of(network).train()
            found = [one for one in tensors_in(ask(twin, inputs)) if one.requires_grad]
            if found:
                sum(one.float().sum() for one in found).backward()
        except (RuntimeError, TypeError, ValueError):
            return False
    return True


def needs_company(network: nn.Module, inputs: Any) -> bool:
    """Whether a batch normalisation sees one value per channel of a batch, which torch refuses.

    One in train mode sees the batch, and one without running statistics does in either mode.

    Args:
        inputs: a batch of one sample.
    """
    alone: list[bool] = []

    def look(part: nn.Module, given: tuple[Any, ...]) -> None:
        if given and given[0].ndim > 1:
            alone.append(given[0].numel() == given[0].shape[1])

    norms = [
        part
        for part in network.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
        and (part.training or part.running_mean is None)
    ]
    handles = [part.register_forward_pre_hook(look) for part in norms]
    try:
        if norms:
            _answers(network, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return any(alone)


def _devices_of(network: nn.Module) -> set[torch.device]:
    return {value.device for value in (*network.parameters(), *network.buffers())}


def _device_of(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))
