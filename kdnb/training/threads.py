"""How many threads a run takes: as many as there are free cores.

The threads of one operation wait for each other, mostly by spinning. If another process occupies
one of their cores, all of them wait for that one, and two threads can be many times slower than one
(`kdnb bench contention`). So `fit`, `evaluate`, `predict`, trials, `kdnb run` and pools of processes
measure how many cores others use and take no more threads than there are cores left; `fit` measures
again between epochs. One line says so if others leave fewer cores than we may use.

A number in `OMP_NUM_THREADS` or `MKL_NUM_THREADS` is used as it is, and so is one that was given to
`torch.set_num_threads`, unless it is that of all cores. Sums over a different number of threads
round differently: set one of these to repeat a run in the foreground bit for bit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import psutil
import torch

from kdnb.progress import note

LOOK = 0.2  # seconds over which the load is measured
AGAIN = 30.0  # seconds after which it is measured again
SPARE = 0.25  # of a core that others, such as a desktop, may use beside our threads

_ours: int | None = None  # what torch has been told here, as long as it holds
_own = 1  # torch's own number before that: on some processors one a physical core
_last = -math.inf, 0.0  # when the load was looked at, and the cores that others used
_said: int | None = None


@contextmanager
def fitting() -> Iterator[Callable[[], None]]:
    """Have torch take as many threads as fit; a call of what is given measures the load again."""
    with taking(number()):
        yield lambda: _tell(number())


@contextmanager
def taking(count: int) -> Iterator[None]:
    """Have torch take so many threads, and put the former number back."""
    global _ours
    before = torch.get_num_threads(), _ours
    try:
        _tell(count)
        yield
    finally:
        _tell(before[0])
        _ours = before[1]


def number() -> int:
    """The threads to take now: those that somebody chose, or as many as there are free cores."""
    global _last, _said
    if _chosen():
        return torch.get_num_threads()
    if monotonic() - _last[0] > AGAIN:
        _last = monotonic(), _used()
    used, cores = _last[1], len(_cores())
    most = min(allotted(), torch.get_num_threads() if _ours is None else _own)
    fit = max(1, min(most, math.floor(cores - used + SPARE)))
    if fit < most and fit != _said:
        threads = "1 thread" if fit == 1 else f"{fit} threads"
        note(
            f"kdnb takes {threads}: others use {used:.1f} of {cores} cores "
            "(set OMP_NUM_THREADS to choose)."
        )
    _said = fit
    return fit


def share(processes: int) -> dict[str, str]:
    """The environment that gives each of so many processes its part of the threads."""
    return {"OMP_NUM_THREADS": str(max(1, number() // processes))}


def allotted() -> int:
    """The cores that this process may use: what its affinity and its control group allow."""
    return max(1, math.floor(min(len(_cores()), _quota())))


def _tell(count: int) -> None:
    global _ours, _own
    if count != torch.get_num_threads():  # else torch would forget kernels for nothing
        _own = torch.get_num_threads() if _ours is None else _own
        torch.set_num_threads(count)
        _ours = count


def _chosen() -> bool:
    """Whether the number of threads is somebody's choice, not torch's own or ours."""
    if any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        return True
    own = {os.cpu_count(), psutil.cpu_count(logical=False), len(_cores()), _ours}
    return torch.get_num_threads() not in own


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _used() -> float:
    """How many of our cores others use. This process rests meanwhile."""
    shares, ours = psutil.cpu_percent(LOOK, percpu=True), _cores()
    return sum(share for core, share in enumerate(shares) if core in ours) / 100


def _quota(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """The cores that Linux's control groups allow a container or job; infinite without a limit."""
    limits = [math.inf]
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:  # not Linux
        return math.inf
    for _, kind, path in lines:
        if kind and "cpu" not in kind.split(","):
            continue
        root = groups / ("cpu" if kind else "")
        inner = root / path.lstrip("/")
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(root):
                limits.append(_limit(folder))
    return min(limits)


def _limit(folder: Path) -> float:
    """The limit of one group: version 2 keeps it in one file, version 1 in two."""
    try:
        if (both := folder / "cpu.max").exists():
            quota, period = both.read_text().split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{part}_us").read_text() for part in ("quota", "period")
            )
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    except (OSError, ValueError):  # no limit is the word "max"
        return math.inf
