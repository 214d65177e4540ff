"""The last layer of a classifier: its input as features, and training only some of its rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from kdnb.training.answers import Output
from kdnb.training.borrowed import borrowed, evaluating
from kdnb.training.layers import Layers, look


def head_of(network: nn.Module, columns: int) -> str:
    """The path of the last linear layer with `columns` outputs.

    Raises:
        ValueError: if there is none.
    """
    paths = [
        path
        for path, part in network.named_modules()
        if isinstance(part, nn.Linear) and part.out_features == columns
    ]
    if not paths:
        raise ValueError(
            f"{type(network).__name__} has no linear layer of {columns} outputs, whose input would be "
            "the features and whose rows the classes."
        )
    return paths[-1]


@torch.no_grad()
def features_of(network: nn.Module, inputs: Tensor, head: str, output: Output = None) -> Tensor:
    """The input of the head for inputs (N, ...): (N, features) on the CPU, in eval mode."""
    device = next(network.parameters()).device
    with evaluating(network):
        seen = Layers(maps=(), head=head)
        found = [
            look(network, seen, part.to(device), output).embedding.cpu()
            for part in inputs.split(500)
        ]
    return torch.cat(found)


@contextlib.contextmanager
def rows_learning(network: nn.Module, head: str, rows: slice) -> Iterator[Callable[[], None]]:
    """A context in which only these rows of the head are trained.

    Yields:
        A function to call after every step: it restores the other rows, which an optimiser's weight
            decay or momentum may have changed.
    """
    layer = network.get_submodule(head)
    parts = [part for part in (layer.weight, layer.bias) if part is not None]
    before = [part.detach().clone() for part in parts]
    others = torch.ones(len(layer.weight), dtype=torch.bool)
    others[rows] = False

    @torch.no_grad()
    def put_back() -> None:
        for part, kept in zip(parts, before, strict=True):
            part[others] = kept[others]

    with borrowed(network):
        for parameter in network.parameters():
            parameter.requires_grad_(any(parameter is part for part in parts))
        yield put_back
