"""All chapters at `quick` on one process and on two, each with a core of its own."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from benchmarks import Measured, seconds
from benchmarks.chapters import run_anew
from benchmarks.steps import BATCH, bare_kd
from kdnb.paths import temporary_folder
from kdnb.runs import pool


def measured(*names: str) -> list[Measured]:
    """Rows about `kdnb run --jobs 1` and `--jobs 2`, each from nothing.

    What a command takes beside its chapters is the time before the first begins and after the last
    ends; how unevenly two processes end is part of the ratio, not of this. Two cores that share a
    memory, or are two halves of one, do less than twice the work of one whatever runs on them: the
    last row says how much.

    Args:
        names: of chapters; all when empty.
    """
    whole, beside = {}, {}
    for jobs in (1, 2):
        with temporary_folder("kdnb-") as folder:
            options = {"OMP_NUM_THREADS": str(jobs)}  # the processes share them: one each
            whole[jobs], _ = run_anew(str(folder), *names, "--jobs", str(jobs), **options)
            beside[jobs] = whole[jobs] - _window(folder)
    gain, more = whole[1] / whole[2], beside[2] - beside[1]
    return [
        Measured("all chapters, one process", whole[1], whole[1], whole[1], "s"),
        Measured("all chapters, two processes", whole[2], whole[2], whole[2], "s"),
        Measured("one process / two", gain, gain, gain, "times", "at least 1.7", gain >= 1.7),
        Measured("fixed cost that two add", more, more, more, "s", "at most 3", more <= 3),
        most(),
    ]


def most(steps: int = 40) -> Measured:
    """What two processes gain here on bare passes of a ResNet-20, which share nothing.

    Each does as much as one alone, so the gain is twice the time of one over that of two at once.
    """
    with pool.pool(2) as executor:
        list(executor.map(_passes, [steps, steps]))  # both have started
        gains = []
        for _ in range(3):
            alone = executor.submit(_passes, steps).result()
            gains.append(2 * alone / max(executor.map(_passes, [steps, steps])))
    gains.sort()
    title = "the upper limit: bare passes on one / on two"
    return Measured(title, gains[1], gains[0], gains[2], "times")


def _passes(steps: int) -> float:
    return seconds(bare_kd(torch.randn(BATCH, 3, 32, 32), steps, asks=False))


def _window(runs: Path) -> float:
    """Seconds from the start of the first chapter to the end of the last."""
    ends = {path: path.stat().st_mtime for path in runs.glob("*/*/run.json")}
    starts = [
        end - json.loads(path.read_text(encoding="utf-8"))["seconds"] for path, end in ends.items()
    ]
    return max(ends.values()) - min(starts)
