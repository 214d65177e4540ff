"""By what a run is recognised when it goes on from a checkpoint: digests of all it depends on."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset

Identity = Mapping[str, Any]


def of_network(network: nn.Module) -> str:
    """A digest of a network's class and its numbers."""
    found = hashlib.sha256(type(network).__qualname__.encode())
    for key, value in sorted(network.state_dict().items()):
        found.update(key.encode())
        _add(found, value)
    return found.hexdigest()[:16]


def of_tensors(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    """A digest of tensors and words by name."""
    found = hashlib.sha256(repr(sorted(words.items())).encode())
    for key, value in sorted(tensors.items()):
        found.update(key.encode())
        _add(found, value)
    return found.hexdigest()


def of_data(batches: Any) -> str:
    """A digest of what batches hold and how they come, as far as that can be told."""
    found = hashlib.sha256()
    _describe(found, batches)
    return found.hexdigest()[:16]


def of_function(function: Any) -> str:
    """A digest of a function: its name, its code, and the plain values bound to it."""
    found = hashlib.sha256()
    _add_function(found, function)
    return found.hexdigest()[:16]


def _add(found: Any, value: Any) -> None:
    if not isinstance(value, Tensor):  # what a module's get_extra_state gives
        found.update(repr(value).encode())
        return
    found.update(f"{value.dtype} {tuple(value.shape)}".encode())
    found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())


def _describe(found: Any, source: Any, depth: int = 0) -> None:
    """Tensors by their numbers, plain settings by their values, everything else by its class."""
    found.update(f"<{type(source).__qualname__}".encode())
    if isinstance(source, Tensor):
        _add(found, source)
    elif isinstance(source, (int, float, str, bool, type(None))):
        found.update(repr(source).encode())
    elif isinstance(source, (tuple, list)):
        for item in source:
            _describe(found, item, depth + 1)
    elif isinstance(source, Mapping):
        for key, item in source.items():
            _describe(found, key, depth + 1)
            _describe(found, item, depth + 1)
    elif isinstance(source, TensorDataset):
        _describe(found, source.tensors, depth + 1)
    elif isinstance(source, Subset):
        _describe(found, list(source.indices), depth + 1)
        _describe(found, source.dataset, depth + 1)
    elif depth < 6:
        for name in _TELLING:
            if hasattr(source, name):
                found.update(name.encode())
                _describe(found, getattr(source, name), depth + 1)
        if hasattr(source, "__len__"):
            found.update(str(len(source)).encode())
    found.update(b">")


# What batches and loaders of any make are told apart by. None of them is a random state.
_TELLING = (
    "images", "labels", "inputs", "mean", "sd", "batch_size", "seed", "shuffle", "crop_padding",
    "flip", "jitter", "drop_last", "batches", "loader", "dataset",
)  # fmt: skip


def _add_function(found: Any, function: Any) -> None:
    if isinstance(function, functools.partial):
        for part in (function.args, tuple(sorted(function.keywords.items()))):
            _describe(found, part)
        function = function.func
    if isinstance(function, nn.Module):
        found.update(f"{function!r} {of_network(function)}".encode())
        return
    function = getattr(function, "__func__", function)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    found.update(f"{getattr(function, '__module__', '')}.{name}".encode())
    code = getattr(function, "__code__", None)
    if code is not None:
        _add_code(found, code)
        for cell in getattr(function, "__closure__", None) or ():
            try:
                held = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if isinstance(held, types.FunctionType):
                _add_code(found, held.__code__)
            elif isinstance(held, functools.partial):
                _add_function(found, held)
            else:
                _describe(found, held, depth=6)


def _add_code(found: Any, code: types.CodeType) -> None:
    found.update(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _add_code(found, constant)
        elif isinstance(constant, frozenset):  # whose order differs between processes
            found.update(repr(sorted(map(repr, constant))).encode())
        else:
            found.update(repr(constant).encode())
    found.update(" ".join(code.co_names).encode())
