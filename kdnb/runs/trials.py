"""Training runs, memoised on disk, and where they are executed.

A trial is a pure function of its description: the name of a registered function, its JSON
arguments (data, networks, recipe, method; possibly other trials, such as a teacher) and a seed.
Its folder is named by the digest of that description, so the same run is never done twice:

    runs/trials/<digest>/
        trial.json            the description
        checkpoint            the state after the last finished epoch, while it runs
        tensors.safetensors   its tensors, such as trained weights
        result.json           its metrics and provenance; the run is finished when this exists
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, perf_counter, sleep
from typing import Any

from safetensors.torch import save as bytes_of

from kdnb import paths
from kdnb.names import UsageError, brief
from kdnb.progress import bar
from kdnb.runs import companions, pool, registry
from kdnb.runs.description import Context, Outcome, Result, Trial, described, resolved
from kdnb.runs.provenance import now, provenance
from kdnb.training import threads
from kdnb.training.checkpoint import AnotherRun

log = logging.getLogger(__name__)

DIGEST = re.compile("[0-9a-f]{1,24}")  # or its first digits

# Seconds within which a result written by another machine must be visible here: an NFS client can
# remember for up to 60 s that a file did not exist.
LATE = 90.0


def run(trial: Trial) -> Result:
    """The result of a trial: read from disk, or computed now.

    It may be killed at any moment (at most the running epoch is lost), and several processes may
    ask for the same trial (one works, the others wait and read).
    """
    if result := finished(trial):
        return result
    for parent in trial.parents():
        run(parent)
    folder = store() / trial.digest
    with paths.locked(folder / "lock"):
        if result := finished(trial):
            return result
        paths.sweep(folder)
        paths.atomic_write(folder / "trial.json", _json(trial.describe()))
        with threads.fitting():
            started, origin = perf_counter(), provenance()
            try:
                outcome = _work_everywhere(trial)
            except AnotherRun as error:
                log.warning("trial %s starts anew: %s", trial.digest, error)
                _remove_checkpoints(folder)
                outcome = _work_everywhere(trial)
        for name, value in outcome.metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"trial {trial.digest} measured {name} = {value}.")
        content = bytes_of({k: v.contiguous() for k, v in outcome.tensors.items()})
        paths.atomic_write(folder / "tensors.safetensors", content)
        document = {
            "metrics": outcome.metrics,
            "series": outcome.series,
            "tensors_sha256": hashlib.sha256(content).hexdigest(),
            "provenance": {**origin, "finished": now(), "wall_s": perf_counter() - started},
        }
        document["sha256"] = _seal(trial.digest, document)
        paths.atomic_write(folder / "result.json", _json(document))
        _remove_checkpoints(folder)
        return read(trial.digest)


def _work_everywhere(trial: Trial) -> Outcome:
    """`work` on all devices that a trial spans."""
    place = registry.place_of(trial.function)
    with companions.spanned(trial.digest, trial.function, place):
        return work(trial)


def _remove_checkpoints(folder: Path) -> None:
    """Remove outdated checkpoints, or those of a finished trial; some trials have one for each part."""
    for path in folder.glob("checkpoint*"):
        path.unlink(missing_ok=True)


def _seal(digest: str, document: dict[str, Any]) -> str:
    """The digest in `result.json`: SHA-256 of the trial and everything else in the file."""
    as_read = json.loads(_json(document))
    return hashlib.sha256((digest + _json(as_read)).encode()).hexdigest()


def work(trial: Trial) -> Outcome:
    """Run a trial's function, from its checkpoint if there is one; its parents must be finished.

    `run` does this once and keeps the outcome.
    """
    parents = {parent.digest: read(parent.digest) for parent in trial.parents()}
    context = Context(store() / trial.digest / "checkpoint")
    function = registry.function_of(trial.function)
    return function(context, trial.seed, **resolved(trial.arguments, parents))


def accompany(digest: str) -> None:
    """Run a trial's function on another device too, and discard the outcome.

    `companions.spanned` starts this when the trial and its parents are on disk.

    Raises:
        ValueError: if the description on disk belongs to another trial.
    """
    trial = described(description(digest))
    if trial.digest != digest:
        raise ValueError(f"trial.json in {store() / digest} describes another trial.")
    work(trial)


def run_all(
    trials: Iterable[Trial] | Mapping[str, Trial], executor: Executor | None = None
) -> dict[str, Result]:
    """Run trials and all trials they depend on, each once.

    Args:
        trials: in any order; a trial starts as soon as the trials among its arguments are finished.
        executor: any `concurrent.futures.Executor` whose workers share the runs folder; by
            default the cluster that `KDNB_CLUSTER` names (see `kdnb.runs.cluster`), else `KDNB_JOBS`
            processes, or this process if that is unset or 1.

    Returns:
        the results by digest, including those of trials that others depend on; or by name if the
        trials were given by name.

    Raises:
        RuntimeError: if a trial fails or its worker dies; says which, and why.
    """
    if isinstance(trials, Mapping):
        results = run_all(trials.values(), executor)
        return {name: results[trial.digest] for name, trial in trials.items()}
    everything = _closure(trials)
    waiting = dict(everything)
    done = {digest for digest, trial in waiting.items() if finished(trial)}
    for digest in done:
        del waiting[digest]
    if executor is None and waiting and os.environ.get("KDNB_CLUSTER"):
        from kdnb.runs import cluster  # imports Dask

        executor = cluster.executor()
    own = executor is None and len(waiting) > 1 and pool.jobs() > 1  # a single trial runs here
    if own:
        executor = pool.kept()
    # Submit only enough to keep the processes busy: submitted trials run in order of submission, but a
    # long chain should run before trials that became ready earlier. A cluster gets all at once.
    room = 1 if executor is None else pool.jobs() + 1 if own else math.inf
    order = {digest: place for place, digest in enumerate(waiting)}
    graph = TopologicalSorter(
        {
            digest: [parent.digest for parent in trial.parents() if parent.digest in waiting]
            for digest, trial in waiting.items()
        }
    )
    graph.prepare()
    ready: list[tuple[int, str]] = []
    running: dict[Future[str], str] = {}
    ended: SimpleQueue[Future[str]] = SimpleQueue()
    progress = bar(len(everything), len(done), "trial")
    try:
        while graph.is_active():
            for digest in graph.get_ready():
                heappush(ready, (order[digest], digest))
            while ready and len(running) < room:
                _, digest = heappop(ready)
                future = _submit(executor, waiting[digest])
                running[future] = digest
                future.add_done_callback(ended.put)
            future = ended.get()
            digest = running.pop(future)
            _outcome(future, waiting[digest])
            graph.done(digest)
            progress.update()
    except BaseException:
        for future in running:
            future.cancel()
        if own:
            pool.abandon(executor)
        raise
    finally:
        progress.close()
    return {digest: read(digest) for digest in everything}


def store() -> Path:
    """The folder of all trials."""
    return paths.runs() / "trials"


def finished(trial: Trial) -> Result | None:
    """The trial's result if it is on disk and complete, else None."""
    if not is_finished(trial.digest):
        return None
    with contextlib.suppress(OSError):  # left if a process was killed right after its result
        _remove_checkpoints(store() / trial.digest)
    try:
        return read(trial.digest)
    except ValueError:
        if is_finished(trial.digest):
            raise
        return None  # another process has just removed it


def read(digest: str) -> Result:
    """A finished trial by its digest.

    Raises:
        ValueError: if its files are missing or damaged.
        OSError: if they cannot be read.
    """
    folder = store() / digest
    try:
        about = description(digest)
        found = json.loads((folder / "result.json").read_bytes())
        # The first results had no digest of their own.
        if found.pop("sha256", None) not in (None, _seal(digest, found)):
            raise ValueError("result.json is not what its digest says")
        if described(about).digest != digest:
            raise ValueError("trial.json describes another trial")
        return Result(digest, folder, about, **found)
    except (FileNotFoundError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(
            f"the trial in {folder} is damaged ({error}): `kdnb trials prune {digest}` removes "
            "it, and the next run makes it again."
        ) from error


def stored() -> Iterator[tuple[str, Path, bool]]:
    """(digest, folder, finished) of every trial on disk, oldest first."""
    found = []
    for folder in filter(_is_digest, store().iterdir() if store().is_dir() else ()):
        with contextlib.suppress(FileNotFoundError):  # another process has just removed it
            found.append((folder.stat().st_mtime, folder))
    for _, folder in sorted(found):
        if (folder / "trial.json").exists():
            yield folder.name, folder, (folder / "result.json").exists()


def _is_digest(folder: Path) -> bool:
    return bool(DIGEST.fullmatch(folder.name))


def is_finished(digest: str) -> bool:
    """Whether the trial of this digest is finished."""
    return (store() / digest / "result.json").exists()


def description(digest: str) -> dict[str, Any]:
    """`Trial.describe()` of a trial on disk, finished or not."""
    return json.loads((store() / digest / "trial.json").read_bytes())


def find(prefix: str) -> str:
    """The digest on disk with this prefix.

    Raises:
        UsageError: if there is none or more than one.
    """
    # Include damaged folders without a description: they must be found to be pruned.
    asked = store().glob(f"{prefix}*") if DIGEST.fullmatch(prefix) else ()
    found = [folder.name for folder in asked if folder.is_dir()]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} trials begin with {brief(prefix)}: see `kdnb trials list`."
        )
    return found[0]


def remove(digest: str, timeout: float = 1, *, unfinished: bool = False) -> bool:
    """Delete a trial's folder in any state; the result marker is deleted first.

    Args:
        unfinished: keep a trial that another process has finished meanwhile.

    Returns:
        whether it was deleted.

    Raises:
        UsageError: for a value that is not a digest.
        filelock.Timeout: while the trial runs.
    """
    if not DIGEST.fullmatch(digest):
        raise UsageError(f"{digest!r} is no digest of a trial: see `kdnb trials list`.")
    folder = store() / digest
    with paths.locked(folder / "lock", timeout):
        if unfinished and is_finished(digest):
            return False
        (folder / "result.json").unlink(missing_ok=True)
        # Delete the lock last: a process that takes it anew must not lose its files.
        for path in folder.iterdir():
            if path.name != "lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / "lock").unlink()
        with contextlib.suppress(OSError):  # another process has just restarted the trial
            folder.rmdir()
    return True


def _closure(trials: Iterable[Trial], found: dict[str, Trial] | None = None) -> dict[str, Trial]:
    """The trials and all they depend on, by digest, dependencies first.

    Args:
        found: trials that are already known, so that shared dependencies are visited once.
    """
    found = {} if found is None else found
    for trial in trials:
        if trial.digest not in found:
            _closure(trial.parents(), found)
            found[trial.digest] = trial
    return found


def _submit(executor: Executor | None, trial: Trial) -> Future[str]:
    if executor is not None:
        return executor.submit(_run_remotely, trial, registry.place_of(trial.function))
    future: Future[str] = Future()
    try:
        future.set_result(run(trial).digest)
    except Exception as error:  # noqa: BLE001 - an executor hands every failure to the future
        future.set_exception(error)
    return future


def _run_remotely(trial: Trial, place: str) -> str:
    """Run on a worker: only the digest is returned, the result is on disk."""
    registry.register(trial.function, place)
    return run(trial).digest


def _outcome(future: Future[str], trial: Trial) -> None:
    """Wait until the trial's result is on disk, or raise an error that says what happened."""
    try:
        _seen(future.result())
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"a worker died while trial {trial.digest} ({trial.function}, seed {trial.seed}) ran, "
            "most often for want of memory: rerun to go on from the last epoch."
        ) from error
    except Exception as error:
        raise RuntimeError(
            f"trial {trial.digest} ({trial.function}, seed {trial.seed}) failed: {error}"
        ) from error


def _seen(digest: str) -> None:
    """Wait until a result is visible here: a network file system may show it late."""
    deadline = monotonic() + LATE
    while not is_finished(digest):
        if monotonic() > deadline:
            raise ValueError(f"its worker wrote no result into {store()}: is that folder shared?")
        sleep(0.2)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
