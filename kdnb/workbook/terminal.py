"""Shared by the commands: one console, plain text, checked numbers."""

from __future__ import annotations

import math

import typer
from rich.console import Console

console = Console(markup=False, emoji=False)  # show names unchanged


def plain(text: str) -> None:
    """Print text unchanged, for a file or another program."""
    console.print(text, end="", markup=False, highlight=False, soft_wrap=True)


def positive(value: float | None) -> float | None:
    """Validate an option as a number above 0: Typer's ranges accept nan."""
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{value} is not a finite number above 0.")
    return value
