"""Cleaning the runs folder: trials, cached teacher outputs, and leftovers of killed processes."""

from __future__ import annotations

from collections.abc import Sequence

from filelock import Timeout

from kdnb import paths
from kdnb.runs import trials
from kdnb.training import teacher_cache

CLUSTERS = ".cluster-"  # prefix of folders with a cluster's keys


def prune(digests: Sequence[str] = (), *, everything: bool = False) -> str:
    """Delete unused files; running trials stay.

    Args:
        digests: digests of trials, or their first digits: only these. Without any, the unfinished
            trials and the temporary files and folders of killed processes.
        everything: also finished trials and cached teacher outputs.

    Returns:
        A one-line summary of what was deleted.

    Raises:
        UsageError: for a value that is not the digest of exactly one trial.
    """
    stored = list(trials.stored())
    chosen = [trials.find(digest) for digest in digests] or [
        digest for digest, _, finished in stored if everything or not finished
    ]
    removed = busy = 0
    for digest in chosen:
        try:
            removed += trials.remove(digest, timeout=0, unfinished=not (digests or everything))
        except Timeout:
            busy += 1
    said = [f"removed {removed} of {len(stored)} trials"]
    if not digests:
        runs = paths.runs()
        folders = {path.parent for path in runs.rglob(".*.tmp")}
        left = sum(map(paths.sweep, folders)) + paths.sweep_folders(CLUSTERS, runs)
        said.append(f"{left} temporary files or folders")
    if everything and not digests:
        tables = teacher_cache.tables()
        gone = sum(paths.if_unused(path, path.unlink) for path in tables)
        said.append(f"{gone} of {len(tables)} teachers' tables")
    running = f"; {busy} still running" if busy else ""
    return ", ".join(said) + running
