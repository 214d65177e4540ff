"""How many threads a run uses: as many as there are free cores.

The threads of one operation wait for each other, mostly by spinning. If another process occupies
one of their cores, all of them wait for that one, and two threads can be many times slower than one
(`kdnb bench contention`). So `fit`, `evaluate`, `predict`, trials, `kdnb run` and pools of processes
measure how many cores other processes use, and take no more threads than there are cores left; `fit`
measures again between epochs. One line says so if the others leave fewer cores than we may use. The
others are all other processes, including those that this one has started, but not this process's own
threads, which may still be spinning after its last operation.

A number in `OMP_NUM_THREADS` or `MKL_NUM_THREADS` is used as it is, and so is one passed to
`torch.set_num_threads`, unless it is the number of all cores. Sums over a different number of threads
round differently: set one of these to repeat a run in the foreground bit for bit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, process_time

import psutil
import torch

from kdnb.progress import note
from kdnb.training import devices

LOOK = 0.2  # seconds over which the load is measured
AGAIN = 30.0  # seconds after which it is measured again
UNKNOWN = (OSError, psutil.Error, NotImplementedError)  # such as in a sandbox without /proc/stat
SPARE = 0.25  # of a core that other processes, such as a desktop, may use besides our threads

_ours: int | None = None  # the number that we set in torch, while it is in effect
_own = 1  # torch's own number before that: on some processors one per physical core
_last = -math.inf, 0.0, 0.0  # when the load was measured; cores used by others, of all, of ours
_said: int | None = None


@contextmanager
def fitting() -> Iterator[Callable[[], None]]:
    """Let torch use as many threads as fit; calling the yielded function measures the load again.

    For compiled networks it does nothing: a new number of threads would have them compiled again.
    """
    with taking(number()):
        yield lambda: None if devices.compiles() else _tell(number())


@contextmanager
def taking(count: int) -> Iterator[None]:
    """Let torch use this number of threads, and restore the former number."""
    global _ours
    before = torch.get_num_threads(), _ours
    try:
        _tell(count)
        yield
    finally:
        _tell(before[0])
        _ours = before[1]


def number() -> int:
    """The number of threads to use now: the user's choice, or as many as there are free cores."""
    global _last, _said
    if _chosen():
        return torch.get_num_threads()
    most = min(allotted(), torch.get_num_threads() if _ours is None else _own)
    if most == 1:  # regardless of the load
        return 1
    if monotonic() - _last[0] > AGAIN:
        _last = monotonic(), *_loads()
    _, used, inside = _last
    # Of the machine's cores, and of the quota shared within our control group.
    cores, used = min((len(_cores()), used), (_quota(), inside), key=lambda pair: pair[0] - pair[1])
    fit = max(1, min(most, math.floor(cores - used + SPARE)))
    if fit < most and fit != _said:
        threads = "1 thread" if fit == 1 else f"{fit} threads"
        note(
            f"kdnb takes {threads}: others use {used:.1f} of {cores:g} cores "
            "(set OMP_NUM_THREADS to choose)."
        )
    _said = fit
    return fit


def share(processes: int) -> dict[str, str]:
    """The environment that gives each of this number of processes its share of the threads."""
    return {"OMP_NUM_THREADS": str(max(1, number() // processes))}


def allotted() -> int:
    """The cores that this process may use: what its affinity and its control group allow."""
    return max(1, math.floor(min(len(_cores()), _quota())))


def _tell(count: int) -> None:
    global _ours, _own
    if count != torch.get_num_threads():  # otherwise torch would drop kernels needlessly
        _own = torch.get_num_threads() if _ours is None else _own
        torch.set_num_threads(count)
        _ours = count


def _chosen() -> bool:
    """Whether the user chose the number of threads, rather than torch or this module."""
    if any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        return True
    own = {os.cpu_count(), _physical(), len(_cores()), _ours}
    return torch.get_num_threads() not in own


def _physical() -> int | None:
    """The machine's physical cores; None if unknown."""
    try:
        return psutil.cpu_count(logical=False)
    except UNKNOWN:
        return None


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _loads() -> tuple[float, float]:
    """How many cores others use: of those that we may use, and of our group's quota."""
    started, spent, own = monotonic(), _spent(), process_time()
    used = _used()
    took = max(monotonic() - started, LOOK)
    ours = (process_time() - own) / took
    return max(0.0, used - ours), max(0.0, (_spent() - spent) / took - ours)


def _used() -> float:
    """How many of our cores are busy; 0 if unknown."""
    try:
        shares, ours = psutil.cpu_percent(LOOK, percpu=True), _cores()
    except UNKNOWN:
        return 0.0
    if len(shares) == len(ours):  # all are ours; some containers renumber theirs
        return sum(shares) / 100
    return sum(share for core, share in enumerate(shares) if core in ours) / 100


GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def _quota(groups: Path = GROUPS, own: Path = OWN) -> float:
    """The cores that Linux's control groups allow a container or job; infinite without a limit."""
    return min(map(_limit, _groups(groups, own)), default=math.inf)


def _spent(groups: Path = GROUPS, own: Path = OWN) -> float:
    """The seconds of CPU that the group with the lowest limit has had; 0 without a limit."""
    folder = min(_groups(groups, own), key=_limit, default=None)
    if folder is None or math.isinf(_limit(folder)):
        return 0.0
    try:
        if (both := folder / "cpu.stat").exists() and (folder / "cpu.max").exists():
            return int(dict(map(str.split, both.read_text().splitlines()))["usage_usec"]) / 1e6
        return int((folder / "cpuacct.usage").read_text()) / 1e9
    except (OSError, ValueError, KeyError):
        return 0.0


def _groups(groups: Path, own: Path) -> list[Path]:
    """The folders of the control groups of this process, and of their parents."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:  # not Linux
        return []
    found = []
    for _, kind, path in (line for line in lines if len(line) == 3):
        if kind and "cpu" not in kind.split(","):
            continue
        root = groups / ("cpu" if kind else "")
        inner = root / path.lstrip("/")
        found += [one for one in (inner, *inner.parents) if one.is_relative_to(root)]
    return found


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
    except (OSError, ValueError, ZeroDivisionError):  # the word "max" means no limit
        return math.inf
