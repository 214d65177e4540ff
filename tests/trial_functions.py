"""Trial functions for the tests: quick, and leaving a trace of every call."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from kdnb.runs import registry
from kdnb.runs.trials import Context, Outcome, Result


def trace(word: str) -> None:
    with open(os.environ["KDNB_TEST_TRACE"], "a") as file:
        file.write(f"{word}\n")


def add(context: Context, seed: int, *, amount: float, to: Result | None = None) -> Outcome:
    trace(f"add {amount} {seed}")
    start = to.tensors()["sum"] if to else torch.zeros(1)
    total = start + amount + seed
    return Outcome({"sum": float(total)}, {"course": [0.0, float(total)]}, {"sum": total})


def counted(context: Context, seed: int, *, data: dict, value: int) -> Outcome:
    """What a reproduction measures, without any data read."""
    trace(f"counted {value} {seed}")
    return Outcome({"errors": float(value + seed)})


def slow(context: Context, seed: int, *, epochs: int) -> Outcome:
    """Counts epochs in a checkpoint, as training does; every epoch takes 20 ms."""
    from kdnb.paths import atomic_write

    file: Path = context.checkpoint
    done = int(file.read_text()) if file.exists() else 0
    while done < epochs:
        done += 1
        trace(f"epoch {seed} {done}")
        time.sleep(0.02)
        atomic_write(file, str(done))
    return Outcome({"epochs": float(done)}, tensors={"x": torch.full((3,), float(seed))})


def fails(context: Context, seed: int) -> Outcome:
    raise ValueError("no such luck")


def dies(context: Context, seed: int) -> Outcome:
    os._exit(9)


def not_finite(context: Context, seed: int) -> Outcome:
    return Outcome({"errors": float("nan")})


def process(context: Context, seed: int, *, fail: bool = False) -> Outcome:
    """Which process ran it; it takes long enough for another one to be needed beside it."""
    time.sleep(0.3)
    if fail:
        raise ValueError("no such luck")
    return Outcome({"process": float(os.getpid())})


def trained(context: Context, seed: int, *, epochs: int, first: int = 0) -> Outcome:
    """A small network trained by the loop, from its checkpoint where there is one."""
    from kdnb.data import LoaderBatches
    from kdnb.training import Recipe, Update, fit

    torch.manual_seed(first)
    network = torch.nn.Linear(2, 2)
    batches = LoaderBatches([(torch.eye(2), torch.arange(2))] * 2)

    def losses(networks, batch):
        logits = networks["network"](batch.images)
        return {"hard": torch.nn.functional.cross_entropy(logits, batch.labels)}

    history = fit(
        {"network": network}, batches, Update(("network",), losses),
        Recipe(epochs=epochs, batch_size=2, lr=0.1, precision="32"), checkpoint=context.checkpoint,
    )  # fmt: skip
    return Outcome({"epochs": float(len(history))})


def fails_beside(context: Context, seed: int) -> Outcome:
    if os.environ["LOCAL_RANK"] == "1":
        raise ValueError("no")
    return Outcome({"one": 1.0})


def meets_nobody(context: Context, seed: int, *, signal: int = 0) -> Outcome:
    """A companion that ends before it meets the first process."""
    from kdnb.training import devices

    if os.environ["LOCAL_RANK"] == "1":
        if signal:
            os.kill(os.getpid(), signal)
        raise ValueError("no room\nat all")
    devices.fabric("32-true")
    return Outcome({"one": 1.0})


def leaves_early(context: Context, seed: int) -> Outcome:
    """A companion that ends between the meeting and what they do together."""
    from kdnb.training import devices

    fabric = devices.fabric("32-true")
    if os.environ["LOCAL_RANK"] == "1":
        raise ValueError("no room")
    fabric.barrier()
    return Outcome({"one": 1.0})


def waits_together(context: Context, seed: int) -> Outcome:
    """Meets the other processes of the trial, says so, and waits to be killed."""
    from kdnb.training import devices

    devices.fabric("32-true").barrier()
    trace(f"met {os.getpid()}")
    time.sleep(600)
    return Outcome({"one": 1.0})


for function in (
    add,
    counted,
    slow,
    fails,
    dies,
    not_finite,
    process,
    trained,
    waits_together,
    fails_beside,
    leaves_early,
    meets_nobody,
):
    registry.register(function.__name__, f"trial_functions:{function.__name__}")
