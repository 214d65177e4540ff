"""Quantise the weights of a network during any training.

Inside `quantised` a network computes with Q(w), and a step updates w by the gradient at Q(w): this
is Polino's Algorithm 1 with any loss, optimiser and loop. Outside, it is an ordinary network with
weights Q(w).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kdnb.losses.checks import check_number
from kdnb.names import nearest
from kdnb.training.borrowed import twin_of
from kdnb.training.first import check_module
from kdnb.training.randomness import own_random_state

Quantiser = Callable[[Tensor], Tensor]
ENDS = "ends"


class _Applied(nn.Module):
    """A function of weights as torch's parametrisations take it."""

    def __init__(self, quantiser: Quantiser) -> None:
        super().__init__()
        self.quantiser = quantiser

    def forward(self, weights: Tensor) -> Tensor:
        return self.quantiser(weights)


def weights_of(network: nn.Module, keep: Collection[str] | str = ()) -> dict[str, nn.Module]:
    """The modules whose `weight` is quantised, by path: convolutions and linear layers, in order.

    Biases and batch normalisations stay in full precision.

    Args:
        keep: paths that stay in full precision, too; or "ends", the first and the last one.

    Raises:
        ValueError: for an invalid path, if no layer is left, or for weights that have no shape yet.
    """
    found = {
        path: part
        for path, part in network.named_modules()
        if isinstance(part, (nn.modules.conv._ConvNd, nn.Linear))
    }
    if keep == ENDS:
        keep = [*list(found)[:1], *list(found)[-1:]]
    elif isinstance(keep, str):
        raise ValueError(f'keep is a list of paths, or "ends"; got {keep!r}.')
    for path in keep:
        if path not in found:
            raise ValueError(f"no layer with weights is called {path!r} ({nearest(path, found)}).")
    left = {path: part for path, part in found.items() if path not in set(keep)}
    if not left:
        raise ValueError("no convolution or linear layer is left to be quantised.")
    for path, part in left.items():
        if nn.parameter.is_lazy(part.weight):
            raise ValueError(
                f"the weights of {path!r} have no shape yet: show the network a batch first."
            )
    return left


@contextlib.contextmanager
def quantised(
    network: nn.Module, quantiser: Quantiser, *, keep: Collection[str] | str = ()
) -> Iterator[nn.Module]:
    r"""A context in which the network computes with quantised weights and learns in full precision.

    .. math:: w \leftarrow w - \nu\, \nabla L\big|_{Q(w)}

    Every optimiser step, including momentum and weight decay, updates the full-precision w by the
    gradient at the quantised point. On exit the weights are Q(w); after an exception, w. Any
    training may run inside: `kdnb.train`, `kdnb.distil`, `kdnb.mutual`, or your own loop, whose
    optimiser must be created inside.

    Args:
        network: changed in place.
        quantiser: a function of one layer's weights, such as ``partial(uniform, bits=2)`` or
            `ternary`, whose gradient is that of the identity.
        keep: as in :func:`weights_of`.

    Raises:
        ValueError: for a network that is already quantised, or as `weights_of`.

    >>> from functools import partial
    >>> from kdnb.methods.quantized import uniform
    >>> net = nn.Linear(2, 2)
    >>> with quantised(net, partial(uniform, bits=1)):
    ...     pass
    >>> len(net.weight.unique()) <= 2
    True
    """
    with parametrised(network, lambda _: _Applied(quantiser), keep=keep):
        yield network


@contextlib.contextmanager
def parametrised(
    network: nn.Module, make: Callable[[Tensor], nn.Module], *, keep: Collection[str] | str = ()
) -> Iterator[dict[str, nn.Module]]:
    """`quantised` with a separate module for each layer, built from its weights.

    Yields:
        The modules by the layer's path.
    """
    check_module("network", network, learns=False)
    parts = weights_of(network, keep)
    if busy := [path for path, part in parts.items() if parametrize.is_parametrized(part)]:
        raise ValueError(f"the weights of {busy[0]!r} are parametrised already.")
    made: dict[str, nn.Module] = {}
    try:
        with own_random_state():
            for path, part in parts.items():
                made[path] = make(part.weight.detach())
                parametrize.register_parametrization(part, "weight", made[path])
        yield made
    except BaseException:
        _end(parts, leave=False)
        raise
    _end(parts, leave=True)


def _end(parts: dict[str, nn.Module], leave: bool) -> None:
    with torch.no_grad(), own_random_state():
        torch.manual_seed(0)  # for a quantiser that draws
        for part in parts.values():
            if parametrize.is_parametrized(part, "weight"):
                parametrize.remove_parametrizations(part, "weight", leave_parametrized=leave)


def rounded(
    network: nn.Module, quantiser: Quantiser, *, keep: Collection[str] | str = ()
) -> nn.Module:
    """A copy with quantised weights: quantisation after training."""
    with quantised(twin_of(network), quantiser, keep=keep) as found:
        pass
    return found


def stored_bytes(
    network: nn.Module,
    bits: float = 32,
    bucket: int | None = 256,
    *,
    keep: Collection[str] | str = (),
) -> float:
    r"""The storage of weights and buffers: b N + 2 f N / k bits for N quantised weights, f = 32.

    Numbers that are not quantised take 32 bits.

    Args:
        bits: b; 32 for a network in full precision, log2(3) for ternary weights.
        bucket: k, the size of a bucket, whose low and span are stored; None for one per layer.
        keep: as in :func:`weights_of`.
    """
    check_number(above=0, most=32, bits=bits)
    count = sum(
        v.numel() for v in (*network.parameters(), *network.buffers()) if v.is_floating_point()
    )
    if bits == 32:
        return 4.0 * count
    total = 0.0
    for part in weights_of(network, keep).values():
        numbers = part.weight.numel()
        count -= numbers
        total += bits * numbers + 64 * (-(-numbers // bucket) if bucket else 1)
    return total / 8 + 4.0 * count
