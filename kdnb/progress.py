"""Progress bars: in a terminal as text, in a notebook as a widget, in a recorded run not at all."""

from __future__ import annotations

import os

from tqdm.auto import tqdm


def bar(total: int, done: int, unit: str) -> tqdm:
    """A bar that vanishes when it is closed. `TQDM_DISABLE=1` hides it, in notebooks too.

    (tqdm's notebook form overrules that variable by itself.)
    """
    hidden = os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    return tqdm(total=total, initial=done, unit=unit, leave=False, disable=hidden)
