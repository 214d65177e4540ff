"""Hints for names that nobody knows, and the error for what was asked wrongly."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Something that was asked for does not exist or cannot be: the command line exits with 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the closest known ones, else all of them."""
    known = [str(one) for one in known]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"nearest: {', '.join(close)}" if close else f"known: {', '.join(known) or 'none'}"
