"""Progress bars: text in a terminal, a widget in a notebook, none in a recorded run."""

from __future__ import annotations

import os
import sys

from tqdm.auto import tqdm


def bar(total: int | None, done: int, unit: str, delay: float = 0) -> tqdm:
    """A bar with the remaining time that disappears when it is closed. `TQDM_DISABLE=1` hides it.

    (tqdm's notebook bar would ignore that variable.)

    Args:
        total: None if unknown.
        delay: seconds before it is shown, for tasks that are usually short.
    """
    return tqdm(total=total, initial=done, unit=unit, leave=False, disable=_hidden(), delay=delay)


def note(text: str) -> None:
    """Print a permanent line, unless progress bars are hidden."""
    if not _hidden():
        tqdm.write(text, file=sys.stderr)


def _hidden() -> bool:
    return os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
