"""What the commands share: one console, text as it is, checked numbers."""

from __future__ import annotations

import math

import typer
from rich.console import Console

console = Console(markup=False, emoji=False)  # names are shown as they are


def plain(text: str) -> None:
    """Text as it is, for a file or another program."""
    console.print(text, end="", markup=False, highlight=False, soft_wrap=True)


def positive(value: float | None) -> float | None:
    """An option that is a number above 0: a range of Typer's takes nan."""
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{value} is not a finite number above 0.")
    return value
