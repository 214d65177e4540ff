"""Checks of user data: arrays and lists become tensors; values that only look like batches are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from kdnb.data.forms import (
    as_labels,
    is_mixed,
    kind_of,
    mapped,
    no_labels,
    of_numbers,
    tensor_of,
)


def check_form(data: Any) -> None:
    """Refuse values that only look like batches: tables, sets and plain numbers in lists.

    Raises:
        TypeError: says what to pass instead.
    """
    wanted = "give tensors or arrays (inputs, labels)"
    for one in (data, *(data if isinstance(data, (tuple, list)) else ())):
        if hasattr(one, "to_numpy"):  # of pandas or polars
            raise TypeError(
                f"the data holds a {type(one).__name__}, a table: {wanted}, such as those of its "
                "to_numpy()."
            )
        if isinstance(one, np.ndarray) and not of_numbers(one):
            raise TypeError(
                f"the data holds {kind_of(one)}: {wanted} of numbers, such as array.astype(float)."
            )
    if isinstance(data, (set, frozenset)):
        raise TypeError(f"the data is a {type(data).__name__}, which has no order: {wanted}.")
    depth, first = 0, data
    while isinstance(first, (tuple, list)) and first:
        depth, first = depth + 1, first[0]
    if depth and isinstance(first, str) or depth > 1 and isinstance(first, (int, float)):
        what = "text" if isinstance(first, str) else "plain numbers"
        raise TypeError(f"the data is {what} in a {type(data).__name__}: {wanted}.")


def of_arrays(data: Any, read: bool = True) -> Any:
    """NumPy arrays, and labels in a list, as tensors; a tuple of too many tensors is refused.

    Args:
        read: whether the labels are used; if not, words and complex numbers are dropped.
    """
    if of_numbers(data):
        return tensor_of(data)
    if isinstance(data, Mapping):
        arrays = all(isinstance(one, (Tensor, np.ndarray)) for one in data.values())
        return mapped(lambda one: one, data) if arrays else data
    if not isinstance(data, (tuple, list)):
        return data
    if len(data) == 2 and are_tensors(mapped(lambda one: one, data[0])):
        inputs, labels = mapped(lambda one: one, data[0]), data[1]
        words = isinstance(labels, np.ndarray) and labels.dtype.kind in ("OSU" if read else "OSUc")
        unread = str if read else (str, complex)
        if words or (
            isinstance(labels, (tuple, list)) and isinstance(next(iter(labels), 0), unread)
        ):
            if read:
                raise TypeError(no_labels(labels))
            return inputs, None
        plain = isinstance(labels, (tuple, list)) and all(map(_is_number, labels))
        if plain or isinstance(labels, np.ndarray):
            return inputs, as_labels(labels)
        return (inputs, labels) if isinstance(data, tuple) else data
    mixed = len(data) == 4 and is_mixed(data[1:])
    tensors = len(data) > 2 and are_tensors(mapped(lambda one: one, data))
    if isinstance(data, tuple) and (mixed or tensors):
        raise TypeError(
            f"the data is a tuple of {len(data)}: give (inputs, labels), several inputs as "
            "((first, second), labels), and mixed labels in a list of batches, [(inputs, first, "
            "second, share of the first), ...]."
        )
    return data


def _is_number(value: Any) -> bool:
    single = isinstance(value, (Tensor, np.generic)) and not value.ndim
    return single or isinstance(value, (int, float, complex))


def are_pair(data: Any) -> bool:
    """Whether data is (inputs, labels) rather than a list of batches."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    inputs, labels = data
    return are_tensors(inputs) and (labels is None or isinstance(labels, Tensor))


def are_tensors(inputs: Any) -> bool:
    """Whether inputs are a tensor, or a dict, tuple or list of tensors."""
    if isinstance(inputs, Tensor):
        return True
    if isinstance(inputs, Mapping):
        inputs = list(inputs.values())
    several = isinstance(inputs, (tuple, list)) and len(inputs) > 0
    return several and all(are_tensors(one) for one in inputs)
