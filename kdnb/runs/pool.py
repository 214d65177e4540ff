"""Worker processes for trials and chapters: how many, how they start, and that they are kept."""

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

# What workers need and takes long to import: the process that they are forked from does it once.
TRAINING = ["kdnb.methods.offline.distil", "lightning_fabric"]


def pool(jobs: int) -> ProcessPoolExecutor:
    """Worker processes that share this one's threads, one a free core by default, between them."""
    # What is forked has the environment of the time when its server started.
    environment = {**os.environ, **threads.share(jobs)}
    return ProcessPoolExecutor(
        jobs, mp_context=get_context(_method()), initializer=_start_worker, initargs=[environment]
    )


def _method() -> str:
    """How workers start: forked from a server that has imported PyTorch, where that is possible."""
    if "forkserver" not in get_all_start_methods():  # Windows: each worker imports for itself
        return "spawn"
    from multiprocessing import forkserver

    # It would look for them in the working folder first, which may be another checkout.
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    with surroundings({"PYTHONPATH": path.strip(os.pathsep), "PYTHONSAFEPATH": "1"}):
        forkserver.set_forkserver_preload(TRAINING)  # has no effect on one that runs
        forkserver.ensure_running()
    return "forkserver"


def kept(least: int = 1) -> ProcessPoolExecutor:
    """A pool that is kept for the next call, since a worker needs seconds to start.

    Args:
        least: processes, where `KDNB_JOBS` asks for fewer.
    """
    # What workers take over when they start is part of it: with other settings they start anew.
    settings = {k: v for k, v in os.environ.items() if k.startswith(("KDNB_", "PYTHON"))}
    wanted = max(least, jobs()), os.getcwd(), frozenset(settings.items())
    with _one_at_a_time:
        try:
            _kept_pool(*wanted).submit(int)
        except BrokenProcessPool:  # a worker died since the last call
            forget()
        return _kept_pool(*wanted)


def default_jobs() -> int:
    """Processes for the trials: one a core, but one alone where they would share a GPU.

    At most 8: each holds PyTorch and a data set, more than half a gigabyte.
    """
    return 1 if torch.cuda.is_available() else min(8, threads.allotted())


def jobs() -> int:
    """The processes that are asked for: `KDNB_JOBS`, 1 by default."""
    return number_in("KDNB_JOBS", 1)


_one_at_a_time = threading.Lock()  # two threads that ask at once get one pool


@functools.lru_cache(maxsize=1)
def _kept_pool(jobs: int, *surroundings: Hashable) -> ProcessPoolExecutor:
    return pool(jobs)


def forget() -> None:
    """Start new workers next time."""
    _kept_pool.cache_clear()


def abandon(executor: ProcessPoolExecutor) -> None:
    """Cancel what kept workers have not begun, and start new ones next time.

    The old ones may be dead, or busy with what nobody waits for any more.
    """
    executor.shutdown(wait=False, cancel_futures=True)
    forget()


def _start_worker(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    # Who interrupts the parent reads of it there, not from every worker.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A worker whose parent was killed would go on by itself, against the rerun.
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
