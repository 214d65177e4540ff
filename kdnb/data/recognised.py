"""What kind of data somebody gives: told apart, and refused where it only looks like batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdnb.data.forms import is_mixed, mapped


def check_form(data: Any) -> None:
    """Refuse what only looks like batches: tables, sets and plain numbers in lists.

    Raises:
        TypeError: which says what to give.
    """
    wanted = "give tensors or arrays (inputs, labels)"
    for one in (data, *(data if isinstance(data, (tuple, list)) else ())):
        if hasattr(one, "to_numpy"):  # of pandas or polars
            raise TypeError(
                f"the data holds a {type(one).__name__}, a table: {wanted}, such as those of its "
                "to_numpy()."
            )
    if isinstance(data, (set, frozenset)):
        raise TypeError(f"the data is a {type(data).__name__}, which has no order: {wanted}.")
    depth, first = 0, data
    while isinstance(first, (tuple, list)) and first:
        depth, first = depth + 1, first[0]
    if depth and isinstance(first, str) or depth > 1 and isinstance(first, (int, float)):
        what = "text" if isinstance(first, str) else "plain numbers"
        raise TypeError(f"the data is {what} in a {type(data).__name__}: {wanted}.")


def of_arrays(data: Any) -> Any:
    """Arrays of NumPy, and labels in a list, as tensors; a tuple of too many tensors is refused."""
    if isinstance(data, np.ndarray) and data.dtype != object:
        return torch.as_tensor(data)
    if not isinstance(data, (tuple, list)):
        return data
    if len(data) == 2 and all_tensors(mapped(lambda one: one, data[0])):
        inputs, labels = mapped(lambda one: one, data[0]), data[1]
        numbers = isinstance(labels, list) and all(isinstance(one, (int, float)) for one in labels)
        if numbers or isinstance(labels, np.ndarray):
            return inputs, torch.as_tensor(labels)
        return (inputs, labels) if isinstance(data, tuple) else data
    mixed = len(data) == 4 and is_mixed(data[1:])
    tensors = len(data) > 2 and all_tensors(mapped(lambda one: one, data))
    if isinstance(data, tuple) and (mixed or tensors):
        raise TypeError(
            f"the data is a tuple of {len(data)}: give (inputs, labels), several inputs as "
            "((first, second), labels), and mixed labels in a list of batches, [(inputs, first, "
            "second, share of the first), ...]."
        )
    return data


def pair_of_tensors(data: Any) -> bool:
    """Whether data is (inputs, labels), and no list of batches."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    inputs, labels = data
    return all_tensors(inputs) and (labels is None or isinstance(labels, Tensor))


def all_tensors(inputs: Any) -> bool:
    """Whether this is a tensor, or holds tensors alone, however deep."""
    if isinstance(inputs, Tensor):
        return True
    if isinstance(inputs, Mapping):
        inputs = list(inputs.values())
    several = isinstance(inputs, (tuple, list)) and len(inputs) > 0
    return several and all(all_tensors(one) for one in inputs)
