"""Where the time of a distillation step goes: the operators of one epoch, by the profiler."""

from __future__ import annotations

from torch.profiler import ProfilerActivity, profile

from benchmarks import Measured
from benchmarks.steps import BATCH, STEPS, ours
from kdnb import data

SHOWN = 10


def measured(steps: int = STEPS) -> list[Measured]:
    """Shares of the CPU time of `KD, all answers known`, operator by operator, largest first."""
    source = data.load("cifar10")
    work = ours(source.train.select(slice(None, BATCH * steps)), source)["KD, all answers known"]
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    spent = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    order = sorted(spent, key=spent.__getitem__, reverse=True)
    times = {name: spent[name] for name in order[:SHOWN]}
    times["all others"] = sum(spent[name] for name in order[SHOWN:])
    shares = {name: 100 * time / sum(spent.values()) for name, time in times.items()}
    return [Measured(name, share, share, share, "%") for name, share in shares.items()]
