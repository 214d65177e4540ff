"""The files in which citation graphs are published: text, pickles of Planetoid, and arrays.

Planetoid's files are Python 2 pickles. They are not unpickled, because that could run any code: `_plain`
interprets the few operations that arrays and dictionaries need, and calls nothing.
"""

from __future__ import annotations

import itertools
import pickletools
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ARRAYS = (  # of an .npz: two sparse matrices by rows, and what the rows are
    "adj_indices", "adj_indptr", "attr_data", "attr_indices", "attr_indptr", "labels", "node_names",
    "class_names",
)  # fmt: skip


class Raw(NamedTuple):
    """A graph as read from a file: sorted by name, unchecked."""

    names: list[str]
    labels: np.ndarray
    starts: np.ndarray  # of each node in `words`, and the end
    words: np.ndarray  # sorted within each node
    pairs: np.ndarray  # (n, 2), in any order and direction
    weights: np.ndarray | None = None  # float32, of each entry of `words`; None where all are 1


def from_text(files: list[Path], classes: tuple[str, ...]) -> Raw:
    """From two text files: one has each paper's name, a 0 or 1 for each word and its subject; the other
    has pairs of names. Pairs with papers that have no content are left out."""
    lines, cites = (
        [line.split() for line in path.read_text(encoding="utf-8").splitlines()] for path in files
    )
    lines.sort(key=lambda line: line[0])
    place = {line[0]: number for number, line in enumerate(lines)}
    words = [np.flatnonzero(np.array(line[1:-1], dtype=np.int8)) for line in lines]
    pairs = [(place[a], place[b]) for a, b in cites if a in place and b in place]
    return Raw(
        [line[0] for line in lines],
        np.array([classes.index(line[-1]) for line in lines]),
        np.cumsum([0, *map(len, words)]),
        np.concatenate(words),
        np.array(pairs).reshape(-1, 2),
    )


def from_planetoid(files: list[Path], classes: tuple[str, ...]) -> Raw:
    """From Planetoid's `allx`, `ally`, `tx`, `ty`, `graph` and `test.index`; nodes are numbered.

    Features and labels of the first nodes are in `allx` and `ally`; those of the others in `tx` and
    `ty`, in the order of `test.index`.
    """
    first, first_labels, last, last_labels, near = (_plain(path.read_bytes()) for path in files[:5])
    order = np.array(files[5].read_text(encoding="ascii").split(), dtype=np.int64)
    matrices = [_sparse(first), _sparse(last)]
    count = len(matrices[0]) + len(order)
    if sorted(order) != list(range(len(matrices[0]), count)):
        raise ValueError("its test nodes are not the last ones")
    rows = [*matrices[0], *(matrices[1][place] for place in np.argsort(order))]
    labels = np.concatenate([_array(first_labels), _array(last_labels)[np.argsort(order)]])
    if labels.shape != (count, len(classes)) or not (labels.sum(1) == 1).all():
        raise ValueError(f"its labels are not one of {len(classes)} classes each")
    pairs = [(node, other) for node, others in near.items.items() for other in others]
    rows = [(words[by], values[by]) for words, values in rows for by in [np.argsort(words)]]
    width = len(str(count - 1))
    return Raw(
        [f"{node:0{width}d}" for node in range(count)],
        labels.argmax(1),
        np.cumsum([0, *(len(words) for words, _ in rows)]),
        np.concatenate([words for words, _ in rows]),
        np.array(pairs).reshape(-1, 2),
        np.concatenate([values for _, values in rows]).astype(np.float32),
    )


def from_npz(content: bytes, classes: tuple[str, ...]) -> Raw:
    """From an .npz in the format of Shchur's benchmark; pickled parts are not read."""
    with np.load(BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in ARRAYS}
    names = [str(one) for one in arrays["node_names"]]
    known = np.array([classes.index(str(one)) for one in arrays["class_names"]])
    if names != sorted(names):
        raise ValueError("its papers are not sorted by name")
    starts, weights = arrays["attr_indptr"], arrays["attr_data"].astype(np.float32)
    row = np.repeat(np.arange(len(names)), np.diff(starts))
    by = np.lexsort((arrays["attr_indices"], row))
    source = np.repeat(np.arange(len(names)), np.diff(arrays["adj_indptr"]))
    return Raw(
        names, known[arrays["labels"]], starts, arrays["attr_indices"][by],
        np.stack([source, arrays["adj_indices"]], 1),
        None if (weights == 1).all() else weights[by],
    )  # fmt: skip


def as_npz(raw: Raw, classes: tuple[str, ...]) -> bytes:
    """The same graph in the format that `from_npz` reads."""
    order = np.argsort(raw.pairs[:, 0], kind="stable")
    counts = np.bincount(raw.pairs[:, 0], minlength=len(raw.names))
    weights = np.ones(len(raw.words), np.float32) if raw.weights is None else raw.weights
    buffer = BytesIO()
    np.savez_compressed(
        buffer, adj_indices=raw.pairs[order, 1], adj_indptr=np.cumsum([0, *counts]),
        attr_data=weights, attr_indices=raw.words, attr_indptr=raw.starts, labels=raw.labels,
        node_names=np.array(raw.names), class_names=np.array(classes),
    )  # fmt: skip
    return buffer.getvalue()


@dataclass
class _Made:
    """A call that a pickle would make: the name of the function, and its arguments."""

    name: str
    arguments: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


class _Name(str):
    """The name of a function or class; only ever compared."""


MARK = object()
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {"BININT", "BININT1", "BININT2", "BINSTRING", "SHORT_BINSTRING"}
EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _plain(content: bytes) -> Any:
    """The content of a pickle of arrays, lists and dictionaries, with `_Made` in place of every call.

    Raises:
        ValueError: for any operation beyond those of such a pickle.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def above_mark() -> list[Any]:
        place = next(i for i in reversed(range(len(stack))) if stack[i] is MARK)
        found = stack[place + 1 :]
        del stack[place:]
        return found

    for code, value, _ in pickletools.genops(content):
        name = code.name
        if name in VALUES:
            stack.append(value)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[value])
        elif name == "MARK":
            stack.append(MARK)
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
        elif name == "TUPLE":
            stack.append(tuple(above_mark()))
        elif name == "APPEND":
            last = stack.pop()
            stack[-1].append(last)
        elif name == "APPENDS":
            more = above_mark()
            stack[-1].extend(more)
        elif name == "SETITEMS":
            more = above_mark()
            into = stack[-1].items if isinstance(stack[-1], _Made) else stack[-1]
            into.update(zip(more[::2], more[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(_Name(value))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            stack[-1] = _Made(str(stack[-1]), arguments)
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state = state
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"a pickle with the operation {name}")
    (found,) = stack
    return found


def _array(made: _Made) -> np.ndarray:
    """The array of numbers that a pickle describes."""
    if made.name != "numpy.core.multiarray _reconstruct":
        raise ValueError(f"{made.name} where an array should be")
    _, shape, kind, by_columns, raw = made.state
    code, order = kind.arguments[0], kind.state[1]
    if kind.name != "numpy dtype" or code[0] not in "if":
        raise ValueError(f"an array of {code}")
    numbers = np.frombuffer(raw.encode("latin-1"), dtype=f"{order}{code}")
    return numbers.reshape(shape, order="F" if by_columns else "C")


def _sparse(made: _Made) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each row of a matrix that a pickle describes, the columns that are not 0, and their values."""
    if made.name != "scipy.sparse.csr csr_matrix":
        raise ValueError(f"{made.name} where a sparse matrix should be")
    data, columns, starts = (_array(made.state[key]) for key in ("data", "indices", "indptr"))
    return [(columns[a:b].astype(np.int64), data[a:b]) for a, b in itertools.pairwise(starts)]
