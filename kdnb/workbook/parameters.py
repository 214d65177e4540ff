"""A chapter's parameters: their declaration in the notebook, and the check of their values.

They are declared only in the notebook, in two cells. The first is tagged `parameters`, so that papermill
can change the values; the comment after a value is its help text. The second checks them:

    dataset = "mnist"
    seeds = 2  # paired repetitions
    temperature = 4.0
    deep = False

    from kdnb import workbook

    workbook.check(
        globals(),
        dataset=("mnist", "fashion_mnist"),
        seeds=(1, 100),
        temperature=(0.1, 100.0),
        deep=bool,
    )

Every name of the first cell occurs once in the call, with its allowed values:

- two numbers: from the first to the second, inclusive; `None` leaves an end open. Integers
  require an integer, and a range with a decimal point takes any number;
- several strings, or a set such as `{16, 32}`: one of these;
- `int`, `float`, `str`, `bool` or `list`: any value of this type.

`kdnb list 2-1` and `kdnb run 2-1 --set seeds=3` read both cells without running them, so their
values must be literals, not expressions.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kdnb.names import UsageError, brief

TYPES = {int: "integer", float: "number", str: "string", bool: "boolean", list: "list"}


class ParameterError(UsageError):
    """A parameter is unknown, of the wrong type, or out of range."""


@dataclass(frozen=True)
class Parameter:
    """A parameter as a notebook declares it.

    Attributes:
        type: a word of `TYPES`.
        limits: the allowed values in words; empty if every value of the type is allowed.
        default: the value in the parameters cell.
        help: the comment beside it.
    """

    name: str
    type: str
    limits: str
    default: Any
    help: str = ""

    @property
    def range(self) -> str:
        """The limits in short form, for a table: `1 to 100`."""
        limits = re.sub(r"at least (\S+) and at most (\S+)", r"\1 to \2", self.limits)
        return limits.removeprefix("one of ").replace("'", "")


def check(values: Mapping[str, Any], /, **allowed: Any) -> None:
    """Check the parameters of a notebook, before anything is computed.

    Args:
        values: `globals()` of the notebook. Other names are ignored, but a parameter passed to
            papermill that the notebook does not declare is an error.
        **allowed: for each parameter its range, choices or type, as described above.

    Raises:
        ParameterError: names each wrong parameter with its type and limits, or for an unknown name
            the nearest known one.
    """
    found = problems({name: values[name] for name in allowed if name in values}, allowed)
    found = [unknown(name, allowed) for name in injected() if name not in allowed] + found
    if found:
        raise ParameterError(" ".join(found))


def problems(values: Mapping[str, Any], allowed: Mapping[str, Any]) -> list[str]:
    """One sentence for each value that is unknown, missing or not allowed."""
    found = [unknown(name, allowed) for name in values if name not in allowed]
    for name, rule in allowed.items():
        kind, limits = described(rule)
        if name not in values:
            found.append(f"Parameter {name!r} has no value.")
        elif not _fits(values[name], kind, rule):
            wanted = f"{TYPES[kind]} {limits}".strip()
            found.append(f"Parameter {name!r} must be of type {wanted}; got {brief(values[name])}.")
    return found


def declared(notebook: Mapping[str, Any]) -> tuple[dict[str, Parameter], dict[str, Any]]:
    """The parameters of a notebook and their allowed values, read without running it.

    Returns:
        The parameters by name, in the order of their cell; and the arguments of `check` by name.

    Raises:
        ParameterError: if a cell is missing, contains more than literals, or the two cells do not
            have the same names.
    """
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    calls = [call for cell in code for call in _checks(cell["source"])]
    if not tagged and not calls:
        return {}, {}
    if len(tagged) != 1 or len(calls) != 1:
        raise ParameterError(
            f"A notebook has one cell tagged `parameters` and one call check(globals(), ...): "
            f"this one has {len(tagged)} and {len(calls)}."
        )
    defaults = _assigned(tagged[0]["source"])
    allowed = {keyword.arg: _rule(keyword) for keyword in calls[0].keywords}
    if odd := set(defaults) ^ set(allowed):
        raise ParameterError(
            f"{', '.join(sorted(odd))}: in one of the parameters cell and the call of check only."
        )
    helps = _helps(tagged[0])
    parameters = {}
    for name, default in defaults.items():
        kind, limits = described(allowed[name])
        parameters[name] = Parameter(name, TYPES[kind], limits, default, helps.get(name, ""))
    return parameters, allowed


def described(rule: Any) -> tuple[type, str]:
    """The type that an argument of `check` requires, and its limits in words.

    Raises:
        ParameterError: if it is neither a range nor choices nor a type.
    """
    if isinstance(rule, type) and rule in TYPES:
        return rule, ""
    if _is_range(rule):
        low, high = rule
        kind = float if any(isinstance(end, float) for end in rule) else int
        ends = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
        return kind, " and ".join(ends)
    kinds = {type(choice) for choice in rule} if isinstance(rule, tuple | list | set) else set()
    if len(kinds) != 1 or not kinds <= set(TYPES):
        raise ParameterError(
            f"{rule!r} says nothing about a parameter: give two numbers, choices or a type."
        )
    choices = sorted(rule) if isinstance(rule, set) else rule
    return kinds.pop(), "one of " + ", ".join(map(repr, choices))


def unknown(name: str, known: Iterable[str]) -> str:
    """The message for an unknown name, with the nearest known one."""
    known = list(known)
    near = difflib.get_close_matches(name[:200], known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}."
    return f"Unknown parameter {brief(name)}: {hint}"


def injected() -> list[str]:
    """The names that papermill assigned in this kernel: its cell begins with `# Parameters`.

    Names that it adds itself (`--inject-paths`) begin with `PAPERMILL_` and are left out.
    """
    from IPython import get_ipython

    shell = get_ipython()
    cells = [] if shell is None else shell.user_ns.get("In", [])
    names = [name for cell in cells if cell.startswith("# Parameters\n") for name in _given(cell)]
    return [name for name in names if not name.startswith("PAPERMILL_")]


def _is_range(rule: Any) -> bool:
    numbers = isinstance(rule, tuple) and all(
        end is None or (isinstance(end, int | float) and not isinstance(end, bool)) for end in rule
    )
    return numbers and len(rule) == 2 and rule != (None, None)


def _fits(value: Any, kind: type, rule: Any) -> bool:
    if kind is float:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        right = right and -math.inf < value < math.inf  # isfinite fails on a huge integer
    else:
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not right or isinstance(rule, type):
        return right
    if _is_range(rule):
        low, high = rule
        return (low is None or value >= low) and (high is None or value <= high)
    return value in rule


def _checks(source: str) -> list[ast.Call]:
    """The calls of `check(globals(), ...)` in a cell; cells with IPython magic have none."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    return [
        call
        for call in calls
        if (getattr(call.func, "attr", None) or getattr(call.func, "id", None)) == "check"
        and ast.unparse(call.args[0]) == "globals()"
    ]


def _rule(keyword: ast.keyword) -> Any:
    types = {kind.__name__: kind for kind in TYPES}
    if isinstance(keyword.value, ast.Name) and keyword.value.id in types:
        return types[keyword.value.id]
    try:
        return ast.literal_eval(keyword.value)
    except ValueError:
        raise ParameterError(
            f"check({keyword.arg}={ast.unparse(keyword.value)}) must be written out, to be read "
            "without running it."
        ) from None


def _assigned(source: str) -> dict[str, Any]:
    """Name -> value of the assignments in a cell of literals."""
    values = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign):
            targets: list[ast.expr] = [statement.target]
        else:
            targets = getattr(statement, "targets", [])
        for target in targets:
            try:
                values[target.id] = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
            except (ValueError, AttributeError):
                text = ast.unparse(statement)
                raise ParameterError(f"{text!r} in the parameters cell is no literal.") from None
    return values


def _given(source: str) -> list[str]:
    """The names assigned in papermill's cell, whatever their values."""
    targets = [t for line in ast.parse(source).body for t in getattr(line, "targets", [])]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _helps(cell: Mapping[str, Any]) -> dict[str, str]:
    """Name -> comment, as read by papermill."""
    from papermill.translators import PythonTranslator

    return {found.name: found.help for found in PythonTranslator.inspect(cell)}
