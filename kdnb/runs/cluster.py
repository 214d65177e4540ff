"""An executor for Dask distributed: the same trials and chapters on other machines.

A cluster is the address of a running scheduler (`tcp://...`, `tls://...`), or is started here:
`local` (processes of this machine) or `slurm` (jobs, by dask-jobqueue). All other settings are in
Dask's own configuration files.

Dask runs a task at least once: a worker that is cut off keeps working, and the tasks of a dead one are
repeated. Therefore workers return only a digest, results are stored in the shared runs folder, and a
trial's lock there prevents two workers from running one trial.
"""

from __future__ import annotations

import atexit
import functools
import logging
import math
import os
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Executor, Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from kdnb import paths
from kdnb.names import UsageError, brief, number_in
from kdnb.runs.pool import default_jobs
from kdnb.runs.pruning import CLUSTERS
from kdnb.training import threads

try:
    import dask
    from distributed import Client, KilledWorker, LocalCluster, Security, get_worker
    from distributed import Future as Sent
    from distributed.deploy import Cluster
except ImportError as missing:
    raise RuntimeError(
        f"a cluster needs Dask ({missing}): install it with `pip install 'kdnb[cluster]'`."
    ) from missing

# Our defaults for schedulers started here; Dask's configuration files take precedence.
DEFAULTS = {
    "distributed": {
        # Until the first trial ends, its duration is unknown: request one worker per trial.
        "scheduler": {"unknown-task-duration": "1h"},
        # Do not release a worker, which may have waited in a queue, between two chapters' trials.
        "adaptive": {"wait-count": 60},
    }
}

# Status pages have no TLS, and by default they listen on every interface.
PAGE = "127.0.0.1:0"


class Workers(Executor):
    """A cluster's workers, as an executor: each takes one trial or one chapter at a time.

    Args:
        where: a scheduler's address, `local` or `slurm`.
        jobs: maximum number of workers. `local` starts this number, by default one per core; for
            `slurm`, None leaves it to Dask's configuration; a running scheduler ignores it.
        gpu: GPUs per trial, such as 1 or 0.5, of those that the workers declare
            (`dask worker --resources GPU=1`).

    Attributes:
        environment: variables with which another process reaches the same cluster.

    Raises:
        ValueError: if there is no such cluster, its workers do not see our runs folder, or
            none of them can provide what a trial takes.
    """

    def __init__(self, where: str, jobs: int | None = None, gpu: float | None = None):
        if where not in STARTS and not _is_address(where):
            raise UsageError(
                f"{brief(where)} is no cluster: give a scheduler's address (tcp://host:port or "
                f"tls://host:port), {' or '.join(STARTS)}."
            )
        if gpu is not None and not 0 < gpu < math.inf:
            raise UsageError(f"a trial cannot take {gpu} GPUs: give a share, such as 1 or 0.5.")
        dask.config.update_defaults(DEFAULTS)
        self._open = ExitStack()
        with ExitStack() as undo:
            undo.callback(self.shutdown)
            # Workers that share the runs folder see this one; others are refused before they work.
            made = paths.temporary_folder(CLUSTERS, paths.runs())
            self._folder = self._open.enter_context(made)
            self._client, tls = self._connected(where, jobs)
            self._open.callback(self._client.close)
            address = self._client.scheduler.address
            self.environment = {"KDNB_CLUSTER": address, "KDNB_GPU": str(gpu or ""), **tls}
            self._resources: dict[str, float] = {}
            self.submit(int).result()  # the first worker is up and sees the same folder
            self._check(gpu)
            self._resources = {"GPU": gpu} if gpu else {}
            undo.pop_all()

    def _connected(self, where: str, jobs: int | None) -> tuple[Client, dict[str, str]]:
        if where in STARTS:
            security, tls = _credentials(self._folder)
            cluster = STARTS[where](jobs, security)
            self._open.callback(cluster.close)
            return Client(cluster, set_as_default=False), tls
        try:
            return Client(where, set_as_default=False), {}
        except (OSError, TypeError, ValueError) as error:  # TypeError: tls:// without certificates
            said = " ".join(str(error).split()).rstrip(".")
            raise ValueError(f"no scheduler can be reached at {where}: {said}.") from error

    def _check(self, gpu: float | None) -> None:
        """Refuse a request that no worker can meet: Dask would wait for ever, silently."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        most = max((worker["resources"].get("GPU", 0) for worker in workers), default=0)
        if gpu and gpu > most:
            raise ValueError(
                f"a trial is to take {gpu:g} GPUs, but no worker declares more than {most:g}: "
                "start workers with `--resources GPU=1`, or ask for less."
            )

    @property
    def running(self) -> bool:
        """Whether the scheduler is still there."""
        return self._client.status == "running"

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future:
        """Call a function on a worker; it must be importable there."""
        future: Future = Future()
        self._send(future, uuid4().hex, function, *arguments)
        return future

    def _send(self, future: Future, name: str, *call: Any) -> None:
        # A unique key, because two equal calls are two calls. Dask uses its first word to learn
        # how long such calls take, and from that how many workers to request.
        key = f"{call[0].__name__}-{uuid4().hex}"
        sent = self._client.submit(
            _there, self._folder.name, name, *call, key=key, resources=self._resources
        )
        future.add_done_callback(lambda ended: sent.cancel() if ended.cancelled() else None)
        sent.add_done_callback(lambda ended: self._settle(future, ended, name, *call))

    def _settle(self, future: Future, sent: Sent, name: str, *call: Any) -> None:
        """Pass on the outcome of a call, with Dask's own failures explained."""
        starts, value, error = self._folder / name, None, None
        try:
            value = sent.result()
        except KilledWorker as killed:
            count = len(starts.read_bytes()) if starts.exists() else 0
            if count <= killed.allowed_failures and not future.cancelled():
                # Dask blames every task queued on a dead worker, not only the one that ran.
                return self._send(future, name, *call)
            error = RuntimeError(
                f"{count} workers died while they ran it, one after another, most often for want "
                "of memory."
            )
        except CancelledError:
            error = RuntimeError("the scheduler was lost: rerun to go on from the last epoch.")
        except Exception as failure:  # noqa: BLE001 - an executor hands every failure on
            error = failure
        starts.unlink(missing_ok=True)
        if future.set_running_or_notify_cancel():
            future.set_exception(error) if error else future.set_result(value)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; shut it down if it was started here."""
        self._open.close()


def _is_address(where: str) -> bool:
    try:
        parts = urlsplit(where)
        return parts.scheme in ("tcp", "tls", "ucx", "ws", "wss") and bool(
            parts.hostname and parts.port
        )
    except ValueError:  # the port is not a number, or too large
        return False


def executor() -> Workers:
    """The cluster that `KDNB_CLUSTER` names, kept for the next call."""
    jobs, gpu = number_in("KDNB_JOBS"), number_in("KDNB_GPU", whole=False)
    wanted = os.environ["KDNB_CLUSTER"], jobs, gpu
    if not _kept(*wanted, str(paths.runs())).running:
        _kept.cache_clear()
    return _kept(*wanted, str(paths.runs()))


@functools.lru_cache(maxsize=1)
def _kept(where: str, jobs: int | None, gpu: float | None, *surroundings: Hashable) -> Workers:
    made = Workers(where, jobs, gpu)
    atexit.register(made.shutdown)
    return made


def _there(folder: str, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run on a worker: check that it is suitable, leave a mark, and call the function."""
    worker = get_worker()
    if worker.state.nthreads != 1:
        raise ValueError(
            f"the worker {worker.address} runs {worker.state.nthreads} tasks at a time, which "
            "would share one random state: start workers with `--nthreads 1`."
        )
    shared = paths.runs() / folder
    if not shared.is_dir():
        raise ValueError(
            f"the worker {worker.address} keeps its runs in {paths.runs().absolute()}, which is "
            "not ours: give all workers a KDNB_RUNS that names one shared folder."
        )
    with open(shared / name, "a") as starts:
        starts.write("x")
    return function(*arguments)


def _local(jobs: int | None, security: Security) -> Cluster:
    jobs = jobs or default_jobs()
    return LocalCluster(
        n_workers=jobs, threads_per_worker=1, security=security, dashboard_address=PAGE,
        memory_limit=None, env=threads.share(jobs), silence_logs=logging.CRITICAL,
    )  # fmt: skip


def _slurm(jobs: int | None, security: Security) -> Cluster:
    from dask_jobqueue import SLURMCluster

    options = {"dashboard_address": PAGE, **dask.config.get("jobqueue.slurm.scheduler-options")}
    extra = [*dask.config.get("jobqueue.slurm.worker-extra-args"), "--dashboard-address", PAGE]
    cluster = SLURMCluster(
        security=security, worker_extra_args=extra,
        scheduler_options={**options, "protocol": "tls://", "security": security},
    )  # fmt: skip
    cluster.adapt(maximum_jobs=jobs)  # unlike `scale`, this replaces lost jobs
    return cluster


STARTS = {"local": _local, "slurm": _slurm}


def _credentials(folder: Path) -> tuple[Security, dict[str, str]]:
    """A certificate for this cluster only, in files that only this user can read."""
    made = Security.temporary()
    files = {"cert": folder / "cert.pem", "key": folder / "key.pem"}
    for part, content in (("cert", made.tls_ca_file), ("key", made.tls_client_key)):
        files[part].touch(mode=0o600)
        with paths.told(files[part]):
            files[part].write_text(content)
    names = {part: str(path.absolute()) for part, path in files.items()}
    roles = {
        f"tls_{role}_{part}": names[part]
        for role in ("client", "scheduler", "worker")
        for part in names
    }
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    variables = {"CA_FILE": "cert", "CLIENT__CERT": "cert", "CLIENT__KEY": "key"}
    environment = {prefix + variable: names[part] for variable, part in variables.items()}
    return Security(require_encryption=True, tls_ca_file=names["cert"], **roles), environment
