"""How a run is recognised when it resumes from a checkpoint: digests of everything it depends on.

One walk covers networks' settings, functions, objects and data, and their contents, to any depth.
An object that contains itself is referred to by number when it is met again, so the walk ends. A
digest is the same in every process: sets are walked in the order of their members' digests, and
nothing is identified by its address.
"""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import dis
import functools
import hashlib
import itertools
import logging
import math
import random
import re
import types
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.data import Subset, TensorDataset

Identity = Mapping[str, Any]


def of_network(network: nn.Module) -> str:
    """A digest of what a network computes: its numbers, its parts, their settings and their code.

    Two classes of the same name with different forwards, two dropout rates, or two values of an
    attribute `scale` make two different networks.
    """
    found = hashlib.sha256(type(network).__qualname__.encode())
    for key, value in (*sorted(network.state_dict().items()), *passing_buffers(network).items()):
        found.update(key.encode())
        _add(found, value)
    found.update(re.sub(r" at 0x[0-9a-f]+", "", repr(network)).encode())
    codes: dict[type, str] = {}  # one per class: a network has many parts but few classes
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
    """The frozen parts of a trained network: parameters without gradients, parts in eval mode."""
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    parts = network.named_modules() if network.training else ()
    return [*frozen, *(f"{path} in eval mode" for path, part in parts if not part.training)]


def _is_setting(value: Any) -> bool:
    """Whether an attribute is a plain value, or a short list of those."""
    if isinstance(value, (tuple, list)):
        return len(value) < 100 and all(map(_is_setting, value))
    return isinstance(value, _PLAIN)


def of_tensors(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    """A digest of tensors and text by name."""
    found = hashlib.sha256(repr(sorted(words.items())).encode())
    for key, value in sorted(tensors.items()):
        found.update(key.encode())
        _add(found, value)
    return found.hexdigest()


def of_data(batches: Any, first: Any = None) -> str:
    """A digest of the contents and order of batches, as far as they can be determined.

    Tensors, arrays, containers and dataclasses are identified by all their contents; batches, loaders
    and data sets of any kind by the attributes that usually hold data or determine its order.

    Args:
        first: the first batch, which shows what a user's own Dataset makes of its files.
    """
    walk = _Walk(data=True)
    parts = [walk.parts(batches, 0)]
    if first is not None:
        parts.append(walk.parts(list(first), 0))
    return walk.digest(itertools.chain(*parts))[:16]


def of_function(function: Any, deep: bool = True) -> str:
    """A digest of a function or callable object: its name, its code, and the values it depends on.

    These are defaults, bound arguments, closure variables, the functions and classes of its own
    module that it names, and every other global that it reads: numbers, lists, dicts, tensors,
    objects. If `deep`, the state of objects and networks among them counts too. A source of random
    numbers counts only by its class, since its state differs each time a run resumes.
    """
    walk = _Walk(deep=deep)
    return walk.digest(walk.function(function, 0))[:16]


def _add(found: Any, value: Any) -> None:
    for part in _numbers(value):
        found.update(part)


def _numbers(value: Any) -> Iterator[bytes]:
    """The type, shape and bytes of a tensor or an array."""
    if not isinstance(value, (Tensor, np.ndarray)):  # from a module's get_extra_state
        yield repr(value).encode()
        return
    yield f"{value.dtype} {tuple(value.shape)}".encode()
    if isinstance(value, np.ndarray):
        yield value.tobytes()
    elif value.layout is not torch.strided:
        sparse = value.detach().to_sparse_coo().coalesce()
        yield from (*_numbers(sparse.indices()), *_numbers(sparse.values()))
    elif hasattr(value, "__tensor_flatten__"):  # of a kind that holds others, such as torchao's
        for name in value.__tensor_flatten__()[0]:
            yield from _numbers(getattr(value, name))
    elif not value.is_meta and not isinstance(value, FakeTensor):
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


# Attributes that identify batches and loaders of any kind. None of them is a random state.
_TELLING = (
    "images", "labels", "inputs", "mean", "sd", "batch_size", "seed", "shuffle", "crop_padding",
    "flip", "jitter", "drop_last", "batches", "loader", "dataset", "data", "targets", "samples",
)  # fmt: skip
_PLAIN = (int, float, str, bool, type(None), bytes, complex, np.generic, torch.dtype, torch.device)
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_NAMED = (type, types.BuiltinFunctionType, types.ModuleType)  # identified by their names
# Identified only by their class: their state belongs to a process.
_PASSING = (
    random.Random, np.random.Generator, np.random.RandomState, torch.Generator, logging.Logger,
)  # fmt: skip
# torch.compile and Fabric, which wraps it, add the last two to their arguments.
_OF_EVERY_MODULE = {*vars(nn.Module()), "_is_torch_compile", "_compile_kwargs"}
# What torch.export keeps besides a graph's code and differs between processes.
_OF_AN_EXPORT = {"_graph", "range_constraints", "eval", "train"}
_AGAIN = 3  # up to this depth repeated objects are walked again, to keep the digests of older runs

# What a walk yields: bytes of the digest, or a value and its depth, to be walked next.
Part = bytes | tuple[Any, int]


class _Walk:
    """One walk. With `data`, objects are treated as data sets or batches; else their whole state counts.

    Without `deep`, the contents of the first function count by values and code, not by the state
    of objects.
    """

    def __init__(self, *, data: bool = False, deep: bool = True) -> None:
        self.data, self.deepest = data, math.inf if deep else 0
        self.met: dict[int, tuple[int, Any]] = {}  # id -> number, object (kept alive)

    def digest(self, parts: Iterator[Part]) -> str:
        """The digest of these parts and everything reachable from them."""
        found, open_parts = hashlib.sha256(), [parts]
        while open_parts:  # not recursive: Python's recursion limit is a few hundred levels here
            part = next(open_parts[-1], None)
            if part is None:
                open_parts.pop()
            elif isinstance(part, tuple):
                open_parts.append(self.parts(*part))
            else:
                found.update(part)
        return found.hexdigest()

    def parts(self, value: Any, depth: int) -> Iterator[Part]:
        """The parts of any value."""
        if not isinstance(value, (*_PLAIN, Tensor, tuple, types.MethodType)):
            number, _ = self.met.get(id(value), (None, None))
            if number is not None and depth > _AGAIN:
                yield f"^{number}".encode()
                return
            if number is None:
                self.met[id(value)] = len(self.met), value
        network = isinstance(value, nn.Module) and not self.data
        if isinstance(value, _FUNCTIONS) or (network and depth <= self.deepest):
            yield from self.function(value, depth)
            return
        yield f"<{type(value).__qualname__}".encode()
        yield from self._content(value, depth)
        yield b">"
        if not self.data and not isinstance(value, (nn.Module, Tensor, np.ndarray)):
            yield from self._state(value, depth)

    def _content(self, value: Any, depth: int) -> Iterator[Part]:
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            yield from ((value.shape, depth + 1), (value.ravel().tolist(), depth + 1))
        elif isinstance(value, (Tensor, np.ndarray)):
            yield from _numbers(value)
        elif isinstance(value, _PLAIN):
            yield repr(value).encode()
        elif isinstance(value, _NAMED):
            yield _name(value).encode()
        elif isinstance(value, (tuple, list)):
            for item in value:
                yield item, depth + 1
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from ((key, depth + 1), (item, depth + 1))
        elif isinstance(value, AbstractSet):
            yield from sorted(self._apart(item, depth + 1).encode() for item in value)
        elif isinstance(value, TensorDataset):
            yield value.tensors, depth + 1
        elif isinstance(value, Subset):
            yield from ((list(value.indices), depth + 1), (value.dataset, depth + 1))
        elif self.data:
            yield from self._telling(value, depth)

    def _apart(self, value: Any, depth: int) -> str:
        """The digest of a set's member, independent of the order in which the walk meets it."""
        walk = _Walk(data=self.data)
        walk.deepest, walk.met = self.deepest, dict(self.met)
        return walk.digest(walk.parts(value, depth))

    def _telling(self, source: Any, depth: int) -> Iterator[Part]:
        """The parts that identify batches, loaders and data sets."""
        names = [name for name in _TELLING if hasattr(source, name)]
        if not names and dataclasses.is_dataclass(source):
            names = [field.name for field in dataclasses.fields(source)]
        elif not names:
            kinds = Tensor, np.ndarray
            names = sorted(
                name
                for name, held in getattr(source, "__dict__", {}).items()
                if isinstance(held, kinds)
            )
        for name in names:
            yield name.encode()
            yield getattr(source, name), depth + 1
        if hasattr(source, "__len__"):
            with contextlib.suppress(TypeError):  # the loader of a stream may have no length
                yield str(len(source)).encode()

    def function(self, function: Any, depth: int) -> Iterator[Part]:
        """The parts of a function, bound method, partial, network or callable object."""
        if isinstance(function, functools.partial):
            for name, value in (*enumerate(function.args), *sorted(function.keywords.items())):
                yield f"{name}=".encode()
                yield value, depth + 1
            function = function.func
        function = _uncompiled(function)
        if isinstance(function, nn.Module):
            yield from self._module(function, depth)
            return
        if isinstance(function, types.MethodType):
            yield function.__self__, depth + 1
            function = function.__func__
        yield _name(function).encode()
        if isinstance(function, types.FunctionType):
            yield from _code(function.__code__)
            if depth <= self.deepest:
                yield from self._held(function, depth)
        else:
            yield from self._state(function, depth)

    def _held(self, function: types.FunctionType, depth: int) -> Iterator[Part]:
        """Defaults, closure variables, the globals that a function reads, and its attributes."""
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            yield value, depth + 1
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # an empty closure cell
                yield cell.cell_contents, depth + 1
        for name in sorted(_globals_of(function.__code__) & function.__globals__.keys()):
            value = function.__globals__[name]
            others = isinstance(value, (types.FunctionType, *_NAMED))  # named in the code
            if not others or getattr(value, "__module__", None) == function.__module__:
                yield name.encode()
                yield value, depth + 1
        for name, value in sorted(vars(function).items()):
            if not name.startswith("_"):  # `__wrapped__` is in the closure
                yield name.encode()
                yield value, depth + 1

    def _module(self, module: nn.Module, depth: int) -> Iterator[Part]:
        """A module's printed form, its numbers, its other attributes, and the code of its forward."""
        yield f"{module!r} {of_network(module)}".encode()
        for place, one in module.named_modules():
            others = _OF_AN_EXPORT if "range_constraints" in vars(one) else set()
            for name in sorted(vars(one).keys() - _OF_EVERY_MODULE - others):
                yield f"{place}.{name}".encode()
                yield vars(one)[name], depth + 1
        yield from self._called(module, "forward", depth)

    def _state(self, value: Any, depth: int) -> Iterator[Part]:
        """The state of an object, such as the weight of a loss object; classes have none.

        It is in its attributes and slots; else, as for a queue or a path, what pickle would keep.
        """
        if isinstance(value, types.BuiltinMethodType) and not isinstance(value.__self__, _NAMED):
            yield value.__self__, depth + 1
        if depth > self.deepest or isinstance(value, (*_PLAIN, *_NAMED, *_PASSING)):
            return
        held = {**_slots(value), **getattr(value, "__dict__", {})}
        for name in sorted(held):
            if not isinstance(getattr(type(value), name, None), functools.cached_property):
                yield name.encode()
                yield held[name], depth + 1
        if not held and not isinstance(value, (tuple, list, Mapping, AbstractSet)):
            for one in _pickled(value):
                yield one, depth + 1
        yield from self._called(value, "__call__", depth)

    def _called(self, value: Any, name: str, depth: int) -> Iterator[Part]:
        """The code that runs when an object is called."""
        function = getattr(type(value), name, None)
        if isinstance(function, types.FunctionType):
            yield function, depth + 1


def _uncompiled(function: Any) -> Any:
    """The function before `torch.compile`: the compiler's own state changes with every call."""
    return getattr(function, "_orig_mod", getattr(function, "_torchdynamo_orig_callable", function))


def _name(value: Any) -> str:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return f"{getattr(value, '__module__', '')}.{name or type(value).__qualname__}"


def _slots(value: Any) -> dict[str, Any]:
    """The attributes of an object in slots, by name."""
    with contextlib.suppress(TypeError):  # a class written in C
        state = object.__getstate__(value)
        if isinstance(state, tuple):
            return state[1]
    return {}


def _pickled(value: Any) -> list[Any]:
    """What pickle keeps of an object except its class; nothing for a lock or an open file."""
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        found = reduce(value) if reduce else value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - whatever an object says about being pickled
        return []
    if isinstance(found, str):  # the name of a global
        return [found]
    return [list(part) if isinstance(part, Iterator) else part for part in found[1:]]


def _globals_of(code: types.CodeType) -> set[str]:
    """The names that a function looks up in its module."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return names.union(*map(_globals_of, inner))


def _code(code: types.CodeType) -> Iterator[bytes]:
    yield code.co_code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        elif isinstance(constant, frozenset):  # its order differs between processes
            yield repr(sorted(map(repr, constant))).encode()
        else:
            yield repr(constant).encode()
    yield " ".join(code.co_names).encode()
