"""A run in the foreground beside busy processes: the threads it takes, and how much slower it is.

One epoch of a ResNet-20 by `kdnb.train`, in turns: alone; beside processes that compute without
end, one for every two cores; and beside them with a thread on each core, which is torch's default.
All runs in a process of its own, where nobody has chosen the number of threads.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch

import kdnb
from benchmarks import Measured, ratio
from kdnb import data, nets, paths
from kdnb.training import threads

BATCH, STEPS, ROUNDS = 64, 6, 3
SLOWER = 2.5  # times, at most
BUSY = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
CHOICES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
CHILD = "from benchmarks import contention; contention.child({steps}, {rounds})"


def measured(steps: int = STEPS, rounds: int = ROUNDS) -> list[Measured]:
    """The table's rows."""
    surroundings = {name: value for name, value in os.environ.items() if name not in CHOICES}
    found = subprocess.run(
        [sys.executable, "-c", CHILD.format(steps=steps, rounds=rounds)],
        cwd=paths.root(), env=surroundings, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return rows_of(json.loads(found.stdout.splitlines()[-1]))


def rows_of(found: dict[str, list[list[float]]]) -> list[Measured]:
    """Rows out of the seconds and the threads of each form in each round."""
    times = {form: [one for one, _ in pairs] for form, pairs in found.items()}
    taken = {form: _range([count for _, count in pairs]) for form, pairs in found.items()}
    others = _busy_ones()
    beside = f"beside {others} busy process{'es' if others > 1 else ''}"
    return [
        ratio(f"{beside}, {taken['beside']} / alone, {taken['alone']}",
              times["beside"], times["alone"], at_most=SLOWER),
        ratio(f"{beside}, {taken['all cores']} / alone, {taken['alone']}",
              times["all cores"], times["alone"]),
    ]  # fmt: skip


def _range(counts: list[float]) -> str:
    low, high = int(min(counts)), int(max(counts))
    said = f"{low}" if low == high else f"{low} to {high}"
    return f"{said} thread{'' if said == '1' else 's'}"


def _busy_ones() -> int:
    return max(1, threads.allotted() // 2)


@contextmanager
def busy() -> Iterator[None]:
    """Processes that compute without end, while it lasts."""
    others = [subprocess.Popen(BUSY, stdout=subprocess.PIPE) for _ in range(_busy_ones())]
    try:
        for other in others:
            other.stdout.readline()  # it runs
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
            other.stdout.close()


def child(steps: int, rounds: int) -> None:
    """In the process of its own: measure, and print seconds and threads as JSON."""
    source = data.load("cifar10")
    images = source.train.select(slice(None, BATCH * steps))
    network = nets.build("resnet20", num_classes=10, in_channels=3, image_size=32)
    counts: list[int] = []
    network.register_forward_pre_hook(lambda *_: counts.append(torch.get_num_threads()))

    def epoch() -> tuple[float, int]:
        fit = kdnb.train(network, images, epochs=1, batch_size=BATCH, lr=1e-3)
        return fit.rows[-1]["seconds"], counts[-1]

    cores = threads.allotted()
    found: dict[str, list[tuple[float, int]]] = {"alone": [], "beside": [], "all cores": []}
    with mock.patch.object(threads, "AGAIN", -math.inf):  # look at the load every time
        epoch()
        for _ in range(rounds):
            found["alone"].append(epoch())
            with busy():
                found["beside"].append(epoch())
                chosen = mock.patch.dict(os.environ, OMP_NUM_THREADS=str(cores))
                with chosen, threads.taking(cores):
                    found["all cores"].append(epoch())
    print(json.dumps(found))
