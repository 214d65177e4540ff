"""What kdnb's speed rests on, measured on the machine at hand: `kdnb bench`.

Every number is a ratio of two times of one run, or stands beside the hardware. Two things that are
compared are measured in turns, A B A B ..., after a warm-up of each, so that a drift of the
machine's speed meets both; what is reported is the median over the pairs, and their range.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from unittest import mock

from kdnb.training import threads

Work = Callable[[], object]  # what is timed; it may return the seconds that count


@dataclass(frozen=True)
class Measured:
    """A row of the table.

    Attributes:
        name: what was measured.
        value: the median; low, high: the range over the repetitions.
        unit: of the three.
        wanted: the bound that we have set ourselves; empty without one.
        met: whether it is met; None without one.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str
    wanted: str = ""
    met: bool | None = None


def seconds(work: Work) -> float:
    """How long one call takes: the seconds that it returns itself, else those that pass."""
    started = perf_counter()
    said = work()
    return said if isinstance(said, float) else perf_counter() - started


def in_turns(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in each round, after one call of each that is not counted.

    The machine's load is measured once, before the first call. A run measures it twice a minute,
    for a fifth of a second each; here that would fall into some of the short works and not others.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    with threads.fitting(), mock.patch.object(threads, "AGAIN", math.inf):
        for work in works.values():
            work()
        for _ in range(rounds):
            for name, work in works.items():
                times[name].append(seconds(work))
    return times


def ratio(
    name: str,
    above: list[float],
    below: list[float],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Measured:
    """The ratio of two works' times, pair by pair."""
    found = [a / b for a, b in zip(above, below, strict=True)]
    middle, wanted, met = statistics.median(found), "", None
    if at_least is not None:
        wanted, met = f"at least {at_least:g}", middle >= at_least
    if at_most is not None:
        wanted, met = f"at most {at_most:g}", middle <= at_most
    return Measured(name, middle, min(found), max(found), "times", wanted, met)


def rate(name: str, times: list[float], samples: int) -> Measured:
    """Samples a second."""
    found = [samples / time for time in times]
    return Measured(name, statistics.median(found), min(found), max(found), "samples/s")
