"""Inputs of any structure: a tensor, or tuples, lists and dicts of tensors; labels, also of mixup."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Mixed(NamedTuple):
    """The labels of mixed images: of the first and the second image of each pair.

    Attributes:
        first, second: (B,) int64, or one label for each position.
        share: (B,) float32, the share of the first, between 0 and 1.
    """

    first: Tensor
    second: Tensor
    share: Tensor

    def __len__(self) -> int:
        return len(self.first)


def as_labels(given: Any) -> Tensor | Mixed:
    """Labels as a tensor, or those of mixed images: a triple (first, second, share of the first).

    Raises:
        TypeError: for anything else, and for complex numbers.
    """
    if is_mixed(given):
        first, second = (real_labels(torch.as_tensor(one)).long() for one in given[:2])
        share = torch.as_tensor(given[2], dtype=torch.float32, device=first.device)
        return Mixed(first, second, share.expand(len(first)))
    try:
        labels = tensor_of(given) if of_numbers(given) else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(no_labels(given)) from error
    return real_labels(labels)


def real_labels(labels: Tensor) -> Tensor:
    """The same labels; complex ones raise a `TypeError`."""
    if labels.is_complex():
        raise TypeError(
            f"labels must be real numbers; got {labels.dtype}: give labels.real, or "
            "torch.view_as_real(labels)."
        )
    return labels


def is_complex(value: Any) -> bool:
    """Whether this is a tensor of complex numbers."""
    return isinstance(value, Tensor) and value.is_complex()


def no_labels(given: Any) -> str:
    """The error message for something that is not labels."""
    what = kind_of(given)
    words = isinstance(given, np.ndarray) or "str" in what
    hint = ": number the classes from 0" if words else ""
    if isinstance(given, np.ndarray) and given.dtype == object:
        hint += ", or give array.astype(int) where they are numbers already"
    return (
        "labels must be a tensor, or a triple (first, second, share of the first) of mixed samples; "
        f"got {what}{hint}."
    )


def kind_of(value: Any) -> str:
    """A description of a value: its type, and the type of its contents.

    >>> kind_of(["cat", "dog"])
    'a list of str'
    """
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    inner = next(iter(value), None) if isinstance(value, (tuple, list)) else None
    return f"a {type(value).__name__}" + (
        f" of {type(inner).__name__}" if inner is not None else ""
    )


def is_mixed(given: Any) -> bool:
    """Whether labels are those of mixed images: two labels and the share of the first."""
    if isinstance(given, Mixed):
        return True
    if not isinstance(given, (tuple, list)) or len(given) != 3:
        return False
    first, second, share = given
    if not all(isinstance(one, Tensor) and not one.is_floating_point() for one in (first, second)):
        return False
    number = isinstance(share, (int, float))
    shares = isinstance(share, Tensor) and share.is_floating_point() and share.ndim < 2
    return first.shape == second.shape and (number or shares)


def of_numbers(value: Any) -> bool:
    """Whether this is an array of numbers: no words, dates or objects."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "biufc"


def tensor_of(array: np.ndarray) -> Tensor:
    """An array of numbers as a tensor: also one that is turned round, or of another machine's bytes.

    Raises:
        TypeError: for masked values.

    >>> tensor_of(np.arange(3, dtype=">i2")[::-1])
    tensor([2, 1, 0], dtype=torch.int16)
    """
    if np.ma.is_masked(array):
        raise TypeError(
            "the data holds a masked array, whose hidden values torch would take for numbers: give "
            "array.filled(value)."
        )
    if not array.dtype.isnative or min(array.strides, default=0) < 0:
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    return torch.as_tensor(array)


def mapped(function: Callable[[Tensor], Any], value: Any) -> Any:
    """The same structure with the function applied to every tensor.

    Values that are neither tensors nor containers stay as they are, unless they move between devices
    as a whole (`.to`), such as a batch of graphs.

    >>> mapped(lambda t: t + 1, {"ids": torch.zeros(1), "names": ["a"]})
    {'ids': tensor([1.]), 'names': ['a']}
    """
    if isinstance(value, Tensor):
        return function(value)
    if of_numbers(value):
        return function(tensor_of(value))
    if isinstance(value, Mapping):
        return {key: mapped(function, one) for key, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(function, one) for one in value))
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(function, one) for one in value)
    return value


def moved(value: Any, device: torch.device | str) -> Any:
    """The same structure on a device; also objects that only `.to` can move, such as a batch of graphs."""
    if not isinstance(value, (Tensor, Mapping, tuple, list, np.ndarray)) and hasattr(value, "to"):
        return value.to(device)
    return mapped(lambda tensor: tensor.to(device, non_blocking=True), value)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of a structure, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from tensors_in(one)


def samples_in(value: Any) -> int:
    """The number of samples in the inputs: the length of their first tensor.

    >>> samples_in({"ids": torch.zeros(5, 7), "mask": torch.zeros(5)})
    5
    """
    first = next((one for one in tensors_in(value) if one.ndim), None)
    return len(first) if first is not None else len(value) if hasattr(value, "__len__") else 1


def rows_of(value: Any, rows: Any) -> Any:
    """Some rows (indices or a slice) of every tensor of a structure.

    Raises:
        ValueError: if its tensors have different lengths, so that rows do not match.
    """
    lengths = {len(one) for one in tensors_in(value) if one.ndim}
    if len(lengths) != 1:
        raise ValueError(
            f"these inputs cannot be cut into samples: their tensors have {sorted(lengths)} rows."
        )
    return mapped(lambda one: one[rows] if one.ndim else one, value)


def first_of(value: Any, count: int) -> Any:
    """The first samples of the inputs; all of them if they cannot be cut, such as a graph."""
    return rows_of(value, slice(count)) if can_be_cut(value) else value


def can_be_cut(value: Any) -> bool:
    """Whether single samples can be taken from a batch: not from a graph, for example."""
    try:
        rows_of(value, slice(1))
    except ValueError:
        return False
    return True
