"""Schedulers and workers as processes of their own, for the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trial_functions  # noqa: F401 - registers what runs may name here

from kdnb.reproductions import hinton2015
from kdnb.runs.trials import Trial

TESTS = Path(__file__).parent.parent
# Of the classifiers of chapter 2-1, small ones, for some seconds on one core.
TINY = {"train_images": 1000, "seeds": 1, "teacher_width": 64, "teacher_epochs": 200,
        "student_width": 32, "student_epochs": 30}  # fmt: skip


def real(arm: str = "distilled") -> Trial:
    """A real training run on MNIST; the distilled student rests on its teacher's."""
    return hinton2015.arms(hinton2015.Parameters(**TINY))[arm](0)


def slow(seed: int, epochs: int = 5) -> Trial:
    """Of 20 ms an epoch, each leaving a line in the trace."""
    return Trial("slow", {"epochs": epochs}, seed)


def trace() -> list[str]:
    """What the trials of `trial_functions` did, line by line."""
    file = Path(os.environ["KDNB_TEST_TRACE"])
    return file.read_text().splitlines() if file.exists() else []


def epochs(seeds: int, count: int) -> set[str]:
    """The lines that `slow` trials leave."""
    return {f"epoch {seed} {epoch}" for seed in range(seeds) for epoch in range(1, count + 1)}


def until(true: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait until something holds, and fail when it never does."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)
    return found


@contextmanager
def process(folder: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen]:
    """A command in a session of its own, its output in `folder`; killed with its children."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{time.monotonic_ns()}.log", "w") as log:
        started = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield started
    finally:
        kill(started)


def kill(started: subprocess.Popen) -> None:
    """SIGKILL for a process and the children that stayed in its session."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def scheduler(folder: Path, *more: str, inside: tuple[str, ...] = (), **environment: str):
    """A Dask scheduler as a process; see `address` for where it listens."""
    options = ["--scheduler-file", str(folder / "scheduler.json")]
    options += ["--dashboard-address", "127.0.0.1:0", *(more or ("--host", "127.0.0.1"))]
    (folder / "scheduler.json").unlink(missing_ok=True)
    command = [*inside, sys.executable, "-m", "distributed.cli.dask_scheduler", *options]
    return process(folder, *command, "--port", "0", **environment)


def address(folder: Path) -> str:
    """Where the scheduler listens."""
    until((folder / "scheduler.json").exists)
    return json.loads((folder / "scheduler.json").read_text())["address"]


def worker(folder: Path, *more: str, inside: tuple[str, ...] = (), **environment: str):
    """A Dask worker as a process, for the scheduler in the same folder."""
    command = [*inside, sys.executable, "-m", "distributed.cli.dask_worker", address(folder)]
    command += ["--dashboard-address", "127.0.0.1:0", "--local-directory", str(folder)]
    options = more or ("--nthreads", "1", "--host", "127.0.0.1")
    return process(folder, *command, *options, **environment)
