"""Hints for unknown names, the error for invalid usage, and values in messages."""

from __future__ import annotations

import difflib
import importlib
import math
import os
from collections.abc import Iterable
from typing import Any

MANY = 20  # most known names listed in a message


class UsageError(ValueError):
    """A request is invalid or names something that does not exist: the command line exits with 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the closest known names, else all of them, at most 20."""
    known = [str(one) for one in known]
    close = difflib.get_close_matches(str(name)[:200], known, n=3, cutoff=0.5)
    if close:
        return f"nearest: {', '.join(close)}"
    more = f" and {len(known) - MANY} more" if len(known) > MANY else ""
    return f"known: {', '.join(known[:MANY]) or 'none'}{more}"


def brief(value: Any, width: int = 60) -> str:
    """A value for use in messages: its repr, with the middle of a long one left out.

    >>> brief("a" * 1000, 11), brief(0.1)
    ("'aaa...aaa'", '0.1')
    """
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer with thousands of digits
        return "a number of very many digits"
    half = (width - 3) // 2
    return text if len(text) <= width else f"{text[:half]}...{text[-half:]}"


def refused(error: Any) -> str:
    """A pydantic validation error as one sentence: each field, its value and the reason.

    Args:
        error: the `pydantic.ValidationError`.
    """
    found = []
    for one in sorted(error.errors(), key=lambda one: one["type"] == "missing"):
        message = one["msg"].removeprefix("Value error, ").rstrip(".")
        message = message[:1].lower() + message[1:]
        name = ".".join(map(str, one["loc"]))
        if one["type"] == "missing":
            found.append(f"{name} is missing")
        else:
            found.append(
                f"{name}={brief(one['input'])} is refused ({message})" if name else message
            )
    return "; ".join(found[:5]) + ("; and more" if len(found) > 5 else "") + "."


def imported(path: str) -> Any:
    """The user's own function or class at `module:name`.

    Raises:
        UsageError: if the module cannot be imported, or does not have this name.
    """
    module, _, name = path.partition(":")
    try:
        held = importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise UsageError(f"{brief(module)} cannot be imported ({said}).") from error
    if not hasattr(held, name):
        known = [one for one in vars(held) if one[0] != "_"]
        raise UsageError(f"{module} has no {brief(name)} ({nearest(name, known)}).")
    found = getattr(held, name)
    if not callable(found):
        raise UsageError(f"{path} is no function, but a {type(found).__name__}.")
    return found


def number_in(
    variable: str, usual: float | None = None, *, whole: bool = True, most: float = 1000
) -> Any:
    """The number in an environment variable, above 0; the default if it is unset or empty.

    Raises:
        UsageError: names the variable and its value.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return usual
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= most:
        kind = "whole number" if whole else "number"
        raise UsageError(
            f"{variable} must be a {kind} above 0 and at most {most:g}, or not be set; it is "
            f"{brief(text)}."
        )
    return number
