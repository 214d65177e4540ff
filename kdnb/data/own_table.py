"""Your own table, with or without a column of text, as tensors for every training function."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kdnb.data.cards import DataError
from kdnb.names import UsageError, brief, nearest

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES = 50  # most categories in one column; a column with more holds names, not categories
CLASSES = 1000
ENDINGS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}


@dataclass(frozen=True, eq=False)
class OwnTable:
    """A table as numbers, in two parts that share no row.

    Attributes:
        train, held_out: (inputs, labels): (rows, columns) float32 and (rows,) int64. The held-out
            rows did not influence the preprocessing.
        classes: the names of the labels, in the order of their numbers.
        columns: the names of the input columns.
        held_out_rows: the numbers of the held-out rows in the table, from 0.
    """

    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    held_out_rows: tuple[int, ...]

    def __repr__(self) -> str:
        return (
            f"OwnTable: {len(self.train[1])} training and {len(self.held_out[1])} held-out rows, "
            f"{len(self.columns)} inputs, {len(self.classes)} classes"
        )


def own_table(
    source: Any,
    label: str,
    *,
    text: str | None = None,
    leave_out: Sequence[str] = (),
    held_out: float = 0.2,
    words: int = 1024,
    seed: int = 0,
) -> OwnTable:
    """Your own table as tensors: numbers standardised, categories one-hot, text as a bag of words.

    Columns of numbers are standardised by the training rows; a missing number becomes 0, and an extra
    column marks it. Other columns become one column for each category in the training rows.
    A column of text becomes a bag of words: log(1 + count) of each, hashed to `words` columns, scaled
    to length 1.

    Args:
        source: a .csv or .tsv file, whose first line names the columns; or a DataFrame.
        label: the column with the classes; rows without a label are left out.
        text: the column with text.
        leave_out: columns to ignore, such as names and row numbers.
        held_out: the share of every class to hold out from training.
        words: number of columns for the text.
        seed: for the split.

    Raises:
        DataError: if the file is missing or not a table, or columns cannot be used; names them.
        UsageError: for an unknown column or an option out of range.
    """
    if not 0 < held_out < 1:
        raise UsageError(f"held_out is a share between 0 and 1; got {brief(held_out)}.")
    if not isinstance(words, int) or not 1 <= words <= 10**6:
        raise UsageError(f"words is a whole number from 1 to 1,000,000; got {brief(words)}.")
    frame = _frame(source)
    for name in [label, *([text] if text is not None else []), *leave_out]:
        if name not in frame:
            raise UsageError(
                f"the table has no column {brief(name)} ({nearest(str(name), frame.columns)})."
            )
    frame = frame[frame[label].notna()].reset_index(drop=True)
    names, numbers = _classes(frame[label], label)
    apart = _held_out(numbers, names, held_out, seed)
    rest = [name for name in frame if name not in {label, text, *leave_out}]
    parts = [_column(frame[name], name, ~apart) for name in rest]
    if text is not None:
        parts.append(_words(frame[text], words))
    if not parts:
        raise DataError(
            "the table has no column besides the label: there is nothing to learn from."
        )
    inputs = torch.from_numpy(np.concatenate([values for _, values in parts], axis=1))
    labels = torch.from_numpy(numbers)
    rows, others = torch.from_numpy(~apart), torch.from_numpy(apart)
    return OwnTable(
        train=(inputs[rows], labels[rows]),
        held_out=(inputs[others], labels[others]),
        classes=names,
        columns=tuple(name for heads, _ in parts for name in heads),
        held_out_rows=tuple(np.flatnonzero(apart).tolist()),
    )


def _frame(source: Any) -> pd.DataFrame:
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        frame = source.rename(columns=str)
    elif isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if not path.is_file():
            raise DataError(f"there is no file {path}.")
        if path.suffix.lower() not in ENDINGS:
            raise DataError(f"{path} must end in {', '.join(ENDINGS)}; read others with pandas.")
        try:
            frame = pd.read_csv(path, sep=ENDINGS[path.suffix.lower()], skipinitialspace=True)
        except (ValueError, OSError, UnicodeError) as error:  # pandas' own are ValueErrors
            raise DataError(f"{path} is no table that can be read ({error!s:.120}).") from error
    else:
        raise DataError(f"give the path of a table or a DataFrame, not a {type(source).__name__}.")
    if frame.empty:
        raise DataError("the table has no row.")
    if len(frame.columns) == 1 and (
        other := next((m for m in ";\t|" if m in frame.columns[0]), "")
    ):
        raise DataError(
            f"the table seems to separate its columns by {other!r}: write it with commas, or read it "
            "with pandas and give the DataFrame."
        )
    if twice := frame.columns[frame.columns.duplicated()].tolist():
        raise DataError(f"the table has two columns {twice[0]!r}.")
    return frame


def _classes(column: pd.Series, label: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes in order, and each row's number."""
    kinds = sorted(column.unique().tolist(), key=lambda one: (str(type(one)), one))
    if not 2 <= len(kinds) <= CLASSES:
        many = "one value only" if len(kinds) == 1 else f"{len(kinds)} different values"
        raise DataError(
            f"the label {label!r} has {many}: a classifier needs 2 to {CLASSES:,} classes."
        )
    place = {one: number for number, one in enumerate(kinds)}
    return tuple(map(str, kinds)), column.map(place).to_numpy(np.int64, copy=True)


def _held_out(numbers: np.ndarray, names: Sequence[str], share: float, seed: int) -> np.ndarray:
    """(rows,) bool: the same share of every class, at least one row of each."""
    draw, apart = np.random.default_rng(seed), np.zeros(len(numbers), bool)
    for number, name in enumerate(names):
        places = np.flatnonzero(numbers == number)
        if len(places) < 2:
            raise DataError(f"class {name!r} has one row: it needs two, one of them held out.")
        count = min(max(1, round(share * len(places))), len(places) - 1)
        apart[draw.choice(places, count, replace=False)] = True
    return apart


def _column(column: pd.Series, name: str, train: np.ndarray) -> tuple[list[str], np.ndarray]:
    """One column as numbers, fitted to the training rows."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(np.float64, na_value=np.nan)
        missing = ~np.isfinite(values)
        known = values[train & ~missing]
        mean, sd = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
        scaled = np.where(missing, 0.0, (values - mean) / (sd if sd > 0 else 1.0))
        heads, found = [name], [scaled]
        if missing.any():
            heads, found = [name, f"{name} is missing"], [scaled, missing]
        return heads, np.stack(found, 1).astype(np.float32)
    texts = column.astype(object).where(column.notna(), "missing").map(str)
    kinds = sorted(set(texts[train]))
    if len(kinds) > CATEGORIES:
        raise DataError(
            f"column {name!r} has {len(kinds)} different values and is no number: name it as the text, "
            "or leave it out."
        )
    found = texts.to_numpy()[:, None] == np.array(kinds, dtype=object)[None]
    return [f"{name} = {kind}" for kind in kinds], found.astype(np.float32)


def _words(column: pd.Series, size: int) -> tuple[list[str], np.ndarray]:
    """A column of text as a bag of words, hashed identically on every machine."""
    found = np.zeros((len(column), size), np.float32)
    for row, text in enumerate(column):
        if not isinstance(text, str):
            continue
        for word in re.findall(r"\w+", text.lower()):
            found[row, zlib.crc32(word.encode()) % size] += 1
    if not found.any():
        raise DataError(f"column {column.name!r} holds no words: it is no text.")
    found = np.log1p(found)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return [f"words {n}" for n in range(size)], found / np.where(length > 0, length, 1)
