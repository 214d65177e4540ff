"""Work that goes on while a chapter draws: threads that hand it out, and values that are waited for."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from kdnb.runs import pool

T = TypeVar("T")

_running: dict[threading.Thread, set[str]] = {}  # with the digests that each has in hand


class Awaited(Mapping[str, T]):
    """Values by name; each is made, or waited for, when it is first looked up."""

    def __init__(self, names: Iterable[str], make: Callable[[str], T]) -> None:
        self._names = dict.fromkeys(names)
        self._made = functools.cache(make)

    def __getitem__(self, name: str) -> T:
        if name not in self._names:
            raise KeyError(name)
        return self._made(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def begin(digests: Iterable[str], work: Callable[[], Any]) -> None:
    """Let a thread do work that finishes the trials with these digests."""
    thread = threading.Thread(target=_quietly, args=[work], daemon=True)
    _running[thread] = set(digests)
    thread.start()


def _quietly(work: Callable[[], Any]) -> None:
    with suppress(Exception):  # who looks a failed trial up runs it again, and is told
        work()


def is_here() -> bool:
    """Whether the caller is itself such work."""
    return threading.current_thread() in _running


def catch_up(digests: Iterable[str], is_finished: Callable[[str], bool]) -> None:
    """Wait for those of the trials that are in the hands of a thread which began earlier."""
    for thread, taken in list(_running.items()):
        if thread is threading.current_thread():
            break  # later ones wait for this one: both would wait for ever
        wanted = taken.intersection(digests)
        try:
            while thread.is_alive() and not all(map(is_finished, wanted)):
                thread.join(0.05)
        except KeyboardInterrupt:  # else the workers would go on, with nobody waiting
            pool.abandon(pool.kept())
            raise
        if not thread.is_alive():
            _running.pop(thread, None)
