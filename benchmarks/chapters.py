"""What each chapter takes at `quick`: seconds, and memory of all its processes together."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from time import perf_counter, sleep

import psutil

from benchmarks import Measured
from kdnb.paths import temporary_folder
from kdnb.workbook import runner


def measured() -> list[Measured]:
    """Two rows a chapter, each run as a user would run it, from nothing.

    Raises:
        RuntimeError: when a chapter fails.
    """
    rows = []
    for item in runner.chapters():
        with temporary_folder("kdnb-") as folder:
            elapsed, peak = run_anew(str(folder), item.name)
        rows.append(Measured(f"{item.name}", elapsed, elapsed, elapsed, "s"))
        rows.append(Measured(f"{item.name}, peak memory", peak, peak, peak, "MB"))
    return rows


def run_anew(folder: str, *arguments: str, **environment: str) -> tuple[float, float]:
    """Seconds and peak memory (MB) of `kdnb run` with these arguments and an empty runs folder.

    Raises:
        RuntimeError: when it fails.
    """
    command = [
        sys.executable,
        "-c",
        "from kdnb.workbook.cli import main; main()",
        "run",
        *arguments,
    ]
    surroundings = {**os.environ, "KDNB_RUNS": folder, **environment}
    started, peak = perf_counter(), 0.0
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command, env=surroundings, stdout=said, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        while process.poll() is None:
            looked = perf_counter()
            peak = max(peak, _memory(process.pid))
            # A look walks all pages of a process and holds it up meanwhile: a fiftieth of the time.
            sleep(max(0.3, 50 * (perf_counter() - looked)))
        elapsed = perf_counter() - started
        said.seek(0)
        if process.returncode:
            raise RuntimeError(f"kdnb run {' '.join(arguments)} failed: {said.read()[-500:]}")
    return elapsed, peak / 1e6


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
