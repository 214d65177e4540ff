"""All chapters at `quick` on one process and on two, each with a core of its own."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from kdnb.benchmarks import Measured
from kdnb.benchmarks.chapters import run_anew


def measured(*names: str) -> list[Measured]:
    """Rows about `kdnb run --jobs 1` and `--jobs 2`, each from nothing.

    What a command takes beside its chapters is the time before the first begins and after the last
    ends; how unevenly two processes end is part of the ratio, not of this.

    Args:
        names: of chapters; all when empty.
    """
    whole, beside = {}, {}
    for jobs in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            options = {"OMP_NUM_THREADS": str(jobs)}  # the processes share them: one each
            whole[jobs], _ = run_anew(folder, *names, "--jobs", str(jobs), **options)
            beside[jobs] = whole[jobs] - _window(Path(folder))
    gain, more = whole[1] / whole[2], beside[2] - beside[1]
    return [
        Measured("all chapters, one process", whole[1], whole[1], whole[1], "s"),
        Measured("all chapters, two processes", whole[2], whole[2], whole[2], "s"),
        Measured("one process / two", gain, gain, gain, "times", "at least 1.7", gain >= 1.7),
        Measured("fixed cost that two add", more, more, more, "s", "at most 3", more <= 3),
    ]


def _window(runs: Path) -> float:
    """Seconds from the start of the first chapter to the end of the last."""
    ends = {path: path.stat().st_mtime for path in runs.glob("*/*/run.json")}
    starts = [end - json.loads(path.read_text())["seconds"] for path, end in ends.items()]
    return max(ends.values()) - min(starts)
