"""Progress bars: in a terminal as text, in a notebook as a widget, in a recorded run not at all."""

from __future__ import annotations

import os
import sys

from tqdm.auto import tqdm


def bar(total: int, done: int, unit: str, delay: float = 0) -> tqdm:
    """A bar with the time left that vanishes when it is closed. `TQDM_DISABLE=1` hides it.

    (tqdm's notebook form overrules that variable by itself.)

    Args:
        delay: seconds that must have gone by before it is shown, for what is short most often.
    """
    return tqdm(total=total, initial=done, unit=unit, leave=False, disable=_hidden(), delay=delay)


def note(text: str) -> None:
    """A line that stays, where bars are shown."""
    if not _hidden():
        tqdm.write(text, file=sys.stderr)


def _hidden() -> bool:
    return os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
