"""Tables that read well as text, in a notebook and on a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Literal

import numpy as np
import pandas as pd


class Table:
    """A formatted table: plain text, or HTML in a notebook."""

    def __init__(self, frame: pd.DataFrame, bold: pd.DataFrame, caption: str):
        self.frame, self._bold, self._caption = frame, bold, caption

    def __repr__(self) -> str:
        text = self.frame.to_string()
        return f"{self._caption}\n{text}" if self._caption else text

    def _repr_html_(self) -> str:
        marks = self._bold.map(lambda yes: "font-weight: bold" if yes else "")
        numbers = [name for name in self.frame if self.frame[name].map(_numeric).all()]
        index = self.frame.index  # older pandas does not escape its names
        index = index.set_names([name and escape(str(name), quote=False) for name in index.names])
        styler = self.frame.set_axis(index).style.apply(lambda _: marks, axis=None).set_uuid("kdnb")
        styler = styler.format(escape="html").format_index(escape="html")
        styler = styler.format_index(escape="html", axis=1)
        styler = styler.set_properties(**{"text-align": "left"}).set_properties(
            subset=numbers, **{"text-align": "right"}
        )
        if self._caption:
            styler = styler.set_caption(escape(self._caption, quote=False))
        return styler.set_table_attributes('class="dataframe"').to_html()


def table(
    frame: pd.DataFrame,
    *,
    caption: str = "",
    decimals: int | Mapping[str, int] | None = None,
    best: Mapping[str, Literal["lower", "higher"]] | None = None,
) -> Table:
    """A table for readers: numbers with significant digits only, blanks for missing values.

    Args:
        frame: columns and index named as shown to readers, units in the names.
        caption: what the table says.
        decimals: for all columns of floats, or column -> decimals. By default three digits of a
            column's largest value, or of each value if they differ a hundredfold.
        best: column -> which of its values is printed in bold.

    Raises:
        ValueError: for a column that the frame does not have.
    """
    asked = [*(best or {}), *(decimals if isinstance(decimals, Mapping) else {})]
    if missing := [name for name in asked if name not in frame]:
        there = ", ".join(map(str, frame.columns))
        raise ValueError(f"the table has no column {missing[0]!r}: it has {there}.")
    shown, bold = {}, pd.DataFrame(False, frame.index, frame.columns)
    for name in frame:
        column = frame[name]
        places = decimals.get(name) if isinstance(decimals, Mapping) else decimals
        shown[name] = [_text(value, _decimals(column, places)) for value in column]
        if best and name in best:
            bold[name] = column == (column.min() if best[name] == "lower" else column.max())
    return Table(pd.DataFrame(shown, frame.index), bold, caption)


def published_and_ours(frame: pd.DataFrame, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """`papers.show_frame` for readers: one row per quantity, numbers as text.

    Args:
        frame: from `papers.show_frame`.
        names: a quantity, or a condition or measure that occurs in one -> its name for readers.
            With names a criterion is marked "yes", "no" or "open", as in `kdnb show`, and
            "no" means that the numbers contradict it. Without names, quantities keep the codes of
            the claims file, and "no" marks every criterion that was not shown to hold.

    Raises:
        ValueError: for a code without a name, if names are given.
    """

    def number(value: float) -> str:
        return "" if pd.isna(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"

    kept = frame.drop_duplicates(["claim", "quantity"], keep="last")
    bounds = [
        f"{number(a)} to {number(b)}" if pd.notna(a) else ""
        for a, b in zip(kept.low, kept.high, strict=True)
    ]
    said = kept.holds.map({True: "yes", False: "no"}).fillna("") if names is None else kept.mark
    columns = {
        "claim": kept.claim,
        "quantity": kept.quantity if names is None else kept.quantity.map(partial(_named, names)),
        "claimed" if names is None else "asked for": kept.requirement,
        "published": kept.published.map(number),
        "ours": kept.ours.map(number),
        "95% interval": bounds,
        "n": kept.n,
        "p (Holm)": kept.p.map(number),
        "holds": said,
    }
    return pd.DataFrame(columns).set_index(["claim", "quantity"])


def _named(names: Mapping[str, str], quantity: str) -> str:
    """A quantity such as `student - few.errors` in the words of its readers."""

    def name(code: re.Match[str]) -> str:
        if code[0] not in names:
            raise ValueError(f"the quantity {quantity!r} needs a name of {code[0]!r}.")
        return names[code[0]]

    if quantity in names:
        return names[quantity]
    return re.sub(r"[A-Za-z_][\w.]*", name, quantity).replace(" - ", " \N{MINUS SIGN} ")


def forest_rows(frame: pd.DataFrame, quantities: Sequence[str]) -> pd.DataFrame:
    """The rows of `papers.show_frame` for some quantities, in the form that `forest` takes."""
    rows = frame.drop_duplicates("quantity").set_index("quantity").loc[list(quantities)]
    return rows.rename(columns={"ours": "mean"})[["mean", "low", "high", "published"]]


def _decimals(column: pd.Series, asked: int | None) -> int | None:
    """Decimals of a column; None if its values differ too much in size for a common number."""
    if asked is not None or not pd.api.types.is_float_dtype(column):
        return asked or 0
    sizes = column.abs().replace([np.inf, 0.0], np.nan).dropna()
    if sizes.empty or (sizes == sizes.round()).all():
        return 0
    if sizes.max() / sizes.min() >= 100:
        return None
    return _three_digits(sizes.max())


def _three_digits(size: float) -> int:
    """The decimals that show three digits of a number, at most 4."""
    return int(np.clip(2 - np.floor(np.log10(max(abs(size), 1e-9))), 0, 4))


def _text(value: object, decimals: int | None) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:,.{_three_digits(value) if decimals is None else decimals}f}"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def _numeric(text: str) -> bool:
    return not text or text.replace(",", "").lstrip("-").replace(".", "", 1).isdigit()
