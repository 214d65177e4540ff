"""Worker processes for trials and chapters: how many, how they start, and that they are kept."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Hashable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, get_all_start_methods, get_context, parent_process
from unittest import mock

from kdnb.paths import PACKAGE

TRAINING = ("kdnb.methods.offline.distil", "lightning_fabric")  # what takes longest to import

# PyTorch is imported where it is needed: `prepare` is there to be called before it is.


def prepare(*modules: str) -> None:
    """Start the process that workers are forked from, which takes the time to import meanwhile.

    One process imports the modules for all workers; they begin at once and share its
    memory. Where there is no forking (Windows), each worker imports for itself.
    """
    if "forkserver" in get_all_start_methods():
        # It would look for them in the working folder first, which may be another checkout.
        path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
        with mock.patch.dict(os.environ, PYTHONPATH=path.strip(os.pathsep), PYTHONSAFEPATH="1"):
            forkserver.set_forkserver_preload(list(modules))  # has no effect on one that runs
            forkserver.ensure_running()


def pool(jobs: int) -> ProcessPoolExecutor:
    """Worker processes that share this one's threads, one a core by default, between them."""
    import torch

    prepare(*TRAINING)
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    # What is forked has the environment of the time when its server started.
    surroundings = max(1, torch.get_num_threads() // jobs), dict(os.environ)
    return ProcessPoolExecutor(
        jobs, mp_context=get_context(method), initializer=_start_worker, initargs=surroundings
    )


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


def wake() -> None:
    """Let the server import, where `KDNB_JOBS` asks for workers, while this process goes on."""
    if jobs() > 1 and not os.environ.get("KDNB_CLUSTER"):
        prepare(*TRAINING)


def default_jobs() -> int:
    """Processes for the trials: one a core, but one alone where they would share a GPU.

    At most 8: each holds PyTorch and a data set, more than half a gigabyte.
    """
    import torch

    return 1 if torch.cuda.is_available() else min(8, os.cpu_count() or 1)


def jobs() -> int:
    """The processes that are asked for: `KDNB_JOBS`, 1 by default."""
    return int(os.environ.get("KDNB_JOBS", "1"))


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


def _start_worker(threads: int, environment: dict[str, str]) -> None:
    import torch

    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)
    # Who interrupts the parent reads of it there, not from every worker.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A worker whose parent was killed would go on by itself, against the rerun.
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
