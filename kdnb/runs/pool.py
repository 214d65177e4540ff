"""Worker processes for trials and chapters: how many, how they start, and how they are reused."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Hashable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context, parent_process

import torch

from kdnb.names import number_in
from kdnb.paths import PACKAGE, surroundings
from kdnb.training import threads

# Modules that workers need and that are slow to import: the process they are forked from does it once.
TRAINING = ["kdnb.methods.offline.distil", "lightning_fabric"]


def pool(jobs: int) -> ProcessPoolExecutor:
    """Worker processes that divide this process's threads, by default one per free core, among them."""
    # Forked processes have the environment of the time when their server started.
    environment = {**os.environ, **threads.share(jobs)}
    return ProcessPoolExecutor(
        jobs, mp_context=get_context(_method()), initializer=_start_worker, initargs=[environment]
    )


def _method() -> str:
    """How workers start: forked from a server that has imported PyTorch, if possible."""
    if "forkserver" not in get_all_start_methods():  # Windows: each worker imports for itself
        return "spawn"
    from multiprocessing import forkserver

    # It would search the working folder first, which may be another checkout.
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    with surroundings({"PYTHONPATH": path.strip(os.pathsep), "PYTHONSAFEPATH": "1"}):
        forkserver.set_forkserver_preload(TRAINING)  # no effect on a running server
        forkserver.ensure_running()
    return "forkserver"


def kept(least: int = 1) -> ProcessPoolExecutor:
    """A pool that is kept for later calls, because a worker takes seconds to start.

    Args:
        least: minimum number of processes, if `KDNB_JOBS` is lower.
    """
    # Workers inherit these settings when they start: if the settings change, start new ones.
    settings = {k: v for k, v in os.environ.items() if k.startswith(("KDNB_", "PYTHON"))}
    wanted = max(least, jobs()), os.getcwd(), frozenset(settings.items())
    with _one_at_a_time:
        try:
            _kept_pool(*wanted).submit(int)
        except BrokenProcessPool:  # a worker died since the last call
            forget()
        return _kept_pool(*wanted)


def default_jobs() -> int:
    """Number of processes for the trials: one per core, but only one if they would share a GPU.

    At most 8: each holds PyTorch and a data set, more than half a gigabyte.
    """
    return 1 if torch.cuda.is_available() else min(8, threads.allotted())


def jobs() -> int:
    """The requested number of processes: `KDNB_JOBS`, 1 by default."""
    return number_in("KDNB_JOBS", 1)


_one_at_a_time = threading.Lock()  # two threads that ask at the same time get the same pool


@functools.lru_cache(maxsize=1)
def _kept_pool(jobs: int, *surroundings: Hashable) -> ProcessPoolExecutor:
    return pool(jobs)


def forget() -> None:
    """Start new workers next time."""
    _kept_pool.cache_clear()


def abandon(executor: ProcessPoolExecutor) -> None:
    """Cancel tasks that kept workers have not begun, and start new workers next time.

    The old workers may be dead, or busy with results that are no longer needed.
    """
    executor.shutdown(wait=False, cancel_futures=True)
    forget()


def _start_worker(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    # Only the parent reports an interrupt, not every worker.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A worker whose parent was killed would keep running and compete with the rerun.
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
