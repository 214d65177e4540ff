"""What each chapter takes at `quick`: seconds, and memory of all its processes together."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from time import perf_counter, sleep

import psutil

from kdnb import runner
from kdnb.benchmarks import Measured


def measured() -> list[Measured]:
    """Two rows a chapter, each run as a user would run it, from nothing.

    Raises:
        RuntimeError: when a chapter fails.
    """
    rows = []
    for item in runner.chapters():
        elapsed, peak = _run(item.name)
        rows.append(Measured(f"{item.name}", elapsed, elapsed, elapsed, "s"))
        rows.append(Measured(f"{item.name}, peak memory", peak, peak, peak, "MB"))
    return rows


def _run(name: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "KDNB_RUNS": folder}
        command = [sys.executable, "-c", "from kdnb.cli import main; main()", "run", name]
        started, peak = perf_counter(), 0.0
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            while process.poll() is None:
                peak = max(peak, _memory(process.pid))
                sleep(0.3)
            said = process.stdout.read() if process.stdout else ""
        if process.returncode:
            raise RuntimeError(f"chapter {name} failed: {said[-500:]}")
        return perf_counter() - started, peak / 1e6


def _memory(pid: int) -> float:
    """Bytes of a process and all below it; pages that several share are counted once in all."""
    total = 0.0
    try:
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            about = process.memory_full_info()
            total += getattr(about, "pss", about.uss)
    except psutil.Error:  # it ended meanwhile
        pass
    return total
