"""Quantities: arithmetic over arms, such as `(student - distilled) / (student - teacher)`.

An arm named alone means its default metric, `arm.metric` another one. Quantities are evaluated
by `pandas.DataFrame.eval` on a table with columns (arm, metric) and one row for each seed.
"""

from __future__ import annotations

import ast
import math
from typing import Annotated, NoReturn

import numpy as np
import pandas as pd
from pydantic import AfterValidator

from kdnb.names import nearest

PARAMETERS = "parameters"  # in a quantity: the parameters of the record, not an arm
Names = dict[tuple[str, str | None], str]  # (arm, metric or None) -> column of the expression


class NotTestable(ValueError):
    """The table has no value of a quantity: an arm that was not run, or a division by zero."""


class _Columns(ast.NodeTransformer):
    """Rewrites arms to safe column names c0, c1, ...; refuses everything but arithmetic."""

    allowed = (ast.BinOp, ast.UnaryOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UAdd, ast.USub)

    def __init__(self) -> None:
        self.names: Names = {}

    def refuse(self, why: str) -> NoReturn:
        raise ValueError(why)

    def column(self, arm: str, metric: str | None) -> ast.Name:
        name = self.names.setdefault((arm, metric), f"c{len(self.names)}")
        return ast.Name(name, ast.Load())

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id == PARAMETERS:
            self.refuse("'parameters' is no arm: parameters.NAME is what the record was made with")
        return self.column(node.id, None)

    def visit_Attribute(self, node: ast.Attribute) -> ast.Name:
        if not isinstance(node.value, ast.Name):
            self.refuse(f"{ast.unparse(node)!r} is not of the form arm.metric")
        return self.column(node.value.id, node.attr)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if type(node.value) not in (int, float) or not math.isfinite(node.value):
            self.refuse(f"{ast.unparse(node)!r} is not a number")
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, self.allowed):
            self.refuse("only +, -, *, / and parentheses over arms and numbers are allowed")
        return super().generic_visit(node)


def parse(quantity: str) -> tuple[str, Names]:
    """A quantity as an expression over c0, c1, ... and the column of each arm in it.

    Raises `ValueError` for anything but +, -, *, / over arms, arm.metric and numbers.
    """
    visitor = _Columns()
    try:
        tree = visitor.visit(ast.parse(quantity.strip(), mode="eval").body)
    except SyntaxError:
        raise ValueError(f"{quantity!r} is not arithmetic over arms (identifiers)") from None
    if not visitor.names:
        raise ValueError(f"{quantity!r} names no arm")
    return ast.unparse(tree), visitor.names


def _spelled(quantity: str) -> str:
    parse(quantity)
    return ast.unparse(ast.parse(quantity.strip(), mode="eval"))


Quantity = Annotated[str, AfterValidator(_spelled)]  # checked, in canonical spelling


def evaluate(expression: str, frame: pd.DataFrame) -> np.ndarray:
    """A parsed expression on a frame with its columns c0, c1, ...: float64, one value per row."""
    return frame.astype(float).eval(expression, engine="python").to_numpy(float)


def on_means(expression: str, frame: pd.DataFrame, positions: np.ndarray) -> np.ndarray:
    """The expression on the means over seeds at `positions` (..., n): values (...)."""
    means = frame.to_numpy(float)[positions].mean(axis=-2)
    flat = pd.DataFrame(means.reshape(-1, frame.shape[1]), columns=frame.columns)
    return evaluate(expression, flat).reshape(means.shape[:-1])


def select(quantity: str, metric: str | None, table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The expression of a quantity and its columns c0, c1, ... of the table.

    The arm `parameters` stands for the record's numbers, from `table.attrs["parameters"]`.

    Raises `NotTestable`, naming the nearest known arm or metric, if one has no results.
    """
    expression, names = parse(quantity)
    arms = list(dict.fromkeys(table.columns.get_level_values(0)))
    frame = {}
    for (arm, own), column in names.items():
        key = (arm, own or metric)
        if arm == PARAMETERS:
            frame[column] = _parameter(own, table)
            continue
        if arm not in arms:
            raise NotTestable(f"there are no results for arm {arm!r} ({nearest(arm, arms)})")
        if key not in table.columns:
            hint = nearest(str(key[1]), table[arm].columns)
            raise NotTestable(f"arm {arm!r} has no metric {key[1]!r} ({hint})")
        frame[column] = table[key]
    if table.empty:
        raise NotTestable("there are no results")
    return expression, pd.DataFrame(frame, index=table.index)


def _parameter(name: str | None, table: pd.DataFrame) -> float:
    known = table.attrs.get(PARAMETERS, {})
    if name not in known:
        hint = nearest(str(name), known)
        raise NotTestable(f"the record has no parameter {name!r} that is a number ({hint})")
    return float(known[name])


def published_value(quantity: str, published: dict[str, float]) -> float:
    """The published value of a quantity: as given, else computed from the given arms, else NaN."""
    if quantity in published:
        return published[quantity]
    expression, names = parse(quantity)
    spelled = {column: f"{arm}.{own}" if own else arm for (arm, own), column in names.items()}
    if not set(spelled.values()) <= set(published):
        return math.nan
    frame = pd.DataFrame({column: [published[name]] for column, name in spelled.items()})
    value = float(evaluate(expression, frame)[0])
    return value if math.isfinite(value) else math.nan
