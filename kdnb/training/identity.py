"""By what a run is recognised when it goes on from a checkpoint: digests of all it depends on."""

from __future__ import annotations

import contextlib
import dis
import functools
import hashlib
import re
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset

Identity = Mapping[str, Any]


def of_network(network: nn.Module) -> str:
    """A digest of what a network computes: its numbers, its parts, their settings and their code.

    Two classes of one name whose forwards differ, two rates of dropout, or an attribute `scale` of
    two values make two networks.
    """
    found = hashlib.sha256(type(network).__qualname__.encode())
    for key, value in (*sorted(network.state_dict().items()), *passing_buffers(network).items()):
        found.update(key.encode())
        _add(found, value)
    found.update(re.sub(r" at 0x[0-9a-f]+", "", repr(network)).encode())
    codes: dict[type, str] = {}  # one for each class: a network has many parts of few classes
    for part in network.modules():
        kind = type(part)
        if kind not in codes:
            own = not kind.__module__.startswith("torch.")
            codes[kind] = of_function(kind.forward, deep=False) if own else ""
        found.update(codes[kind].encode())
        for name, value in sorted(vars(part).items()):
            if name[0] != "_" and name != "training" and _is_setting(value):
                found.update(f"{name}={value!r}".encode())
    return found.hexdigest()[:16]


def passing_buffers(network: nn.Module) -> dict[str, Tensor]:
    """The buffers that a network's `state_dict` leaves out (`persistent=False`), by name."""
    return {
        f"{path}.{name}" if path else name: part._buffers[name]
        for path, part in network.named_modules()
        for name in sorted(part._non_persistent_buffers_set)
        if part._buffers.get(name) is not None
    }


def of_learning(network: nn.Module) -> list[str]:
    """What of a network that is trained stays still: parameters without gradients, parts in eval mode."""
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    parts = network.named_modules() if network.training else ()
    return [*frozen, *(f"{path} in eval mode" for path, part in parts if not part.training)]


def _is_setting(value: Any) -> bool:
    """Whether an attribute is a plain value, or a short list of those."""
    if isinstance(value, (tuple, list)):
        return len(value) < 100 and all(map(_is_setting, value))
    return isinstance(value, _PLAIN)


def of_tensors(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    """A digest of tensors and words by name."""
    found = hashlib.sha256(repr(sorted(words.items())).encode())
    for key, value in sorted(tensors.items()):
        found.update(key.encode())
        _add(found, value)
    return found.hexdigest()


def of_data(batches: Any, first: Any = None) -> str:
    """A digest of what batches hold and how they come, as far as that can be told.

    Args:
        first: the first batch, which tells what a Dataset of a user's own makes of its files.
    """
    found = hashlib.sha256()
    _describe(found, batches)
    if first is not None:
        _describe(found, list(first))
    return found.hexdigest()[:16]


def of_function(function: Any, deep: bool = True) -> str:
    """A digest of a function or callable object: its name, its code, and the values it rests on.

    These are defaults, bound arguments, what it closes over, and plain values and functions of its
    own module that it names; when `deep`, the state of objects and networks among them, too.
    """
    found = hashlib.sha256()
    _add_function(found, function, 0 if deep else _DEEPEST)
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


def _add_function(found: Any, function: Any, depth: int = 0) -> None:
    if isinstance(function, functools.partial):
        for name, value in (*enumerate(function.args), *sorted(function.keywords.items())):
            found.update(f"{name}=".encode())
            _add_held(found, value, depth + 1)
        function = function.func
    if isinstance(function, nn.Module):
        found.update(f"{function!r} {of_network(function)}".encode())
        return
    if isinstance(function, types.MethodType):
        _add_held(found, function.__self__, depth + 1)
        function = function.__func__
    name = getattr(function, "__qualname__", type(function).__qualname__)
    found.update(f"{getattr(function, '__module__', '')}.{name}".encode())
    if not isinstance(function, types.FunctionType):
        _add_state(found, function, depth)
        return
    _add_code(found, function.__code__)
    if depth > _DEEPEST:
        return
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        _add_held(found, value, depth + 1)
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            _add_held(found, cell.cell_contents, depth + 1)
    for name in sorted(_globals_of(function.__code__) & function.__globals__.keys()):
        value, own = function.__globals__[name], function.__module__
        if isinstance(value, _PLAIN) or getattr(value, "__module__", None) == own:
            found.update(name.encode())
            _add_held(found, value, depth + 1)


def _add_held(found: Any, value: Any, depth: int) -> None:
    """What a function has of its own: a default, a value of its closure, a global, its object."""
    functions = types.FunctionType, types.MethodType, functools.partial
    if isinstance(value, functions) or (isinstance(value, nn.Module) and depth <= _DEEPEST):
        _add_function(found, value, depth)
        return
    _describe(found, value, depth=6)
    if not isinstance(value, (nn.Module, Tensor)):
        _add_state(found, value, depth)


def _add_state(found: Any, value: Any, depth: int) -> None:
    """What an object holds, such as the weight of a loss that is an object. No class has a state."""
    if depth > _DEEPEST or isinstance(value, type):
        return
    for name, held in sorted(getattr(value, "__dict__", {}).items()):
        found.update(name.encode())
        _add_held(found, held, depth + 1)


_PLAIN = (int, float, str, bool, type(None))
_DEEPEST = 3  # a loss may hold what holds it


def _globals_of(code: types.CodeType) -> set[str]:
    """The names that a function looks up in its module."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return names.union(*map(_globals_of, inner))


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
