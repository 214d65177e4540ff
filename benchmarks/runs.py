"""Many small runs as `kdnb reproduce` makes them: how fast they come, and that nothing grows.

A LeNet-5 on 1,000 MNIST images, five epochs, seed after seed: described, trained, evaluated,
written and read again, on a pool with a process for each core. Beside it, in turns on the same
processes, the bare loop: the same batches, passes, optimiser and evaluation, and nothing kept.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from itertools import count, islice
from time import perf_counter
from unittest import mock

import psutil
import torch
from torch.nn import functional as F

from benchmarks import Measured, Work, in_turns, ratio, seconds
from kdnb import data
from kdnb.data import in_order
from kdnb.paths import temporary_folder
from kdnb.runs import pool, trials
from kdnb.runs.task import built, data_spec
from kdnb.runs.trials import Trial
from kdnb.training import Recipe, devices
from kdnb.training.inputs import batches_of, evaluated, examples_of

RUNS, ROUNDS, IMAGES, EPOCHS = 20, 10, 1000, 5  # runs a round, of each form
SHARE = 0.85  # of the bare loop's runs a minute, at least
START = 1.0  # seconds in which a further pool answers, at most
GROWTH = 1.1  # of the last rounds over the first, at most


def description(images: int, epochs: int) -> dict:
    """The arguments of a run, as a reproduction gives them."""
    recipe = {"epochs": epochs, "batch_size": 64, "lr": 0.05}
    spec = data_spec("mnist", limit=images, evaluated=1000)
    return {"data": spec, "network": {"name": "lenet5"}, "recipe": recipe}


def bare(seed: int, arguments: dict) -> float:
    """One run without kdnb's loop and without anything kept; the test errors."""
    source, recipe = data.load("mnist"), Recipe(**arguments["recipe"])
    network = built(arguments["network"], source, seed)
    examples, half = examples_of(source, arguments["data"]), devices.gains_from_bf16()
    batches = batches_of(examples, source, recipe, seed)
    if half:
        network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), lr=recipe.lr, momentum=recipe.momentum)
    steps = recipe.epochs * len(batches)
    for epoch in range(recipe.epochs):
        network.train()
        for offset, (images, labels, *_) in enumerate(batches.epoch(epoch)):
            rate = recipe.learning_rate(epoch * len(batches) + offset, steps)
            optimiser.param_groups[0]["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits = network(images)
            optimiser.zero_grad()
            F.cross_entropy(logits.float(), labels).backward()
            optimiser.step()
    network.eval()
    seen = [evaluated(part, arguments["data"]) for part in (source.validation, source.test)]
    wrong = 0
    with torch.no_grad():
        for part in (examples, *seen):  # a run evaluates all three; the test images come last
            pairs = in_order(part, source, torch.device("cpu")).epoch(0)
            wrong = sum(int((network(x).argmax(1) != y).sum()) for x, y, *_ in pairs)
    return float(wrong)


def memory(_: int) -> tuple[int, float]:
    """Which process this is, and its resident megabytes."""
    return os.getpid(), psutil.Process().memory_info().rss / 1e6


def resident(executor: Executor, jobs: int) -> float:
    """Megabytes of the largest worker."""
    return max(size for _, size in executor.map(memory, range(4 * jobs)))


def starting(arguments: dict, seeds: Iterator[int]) -> list[Measured]:
    """How long a pool takes to its first answer, and what a worker's first run costs besides."""
    taken, more = [], []
    for _ in range(4):
        started = perf_counter()
        with pool.pool(1) as executor:
            executor.submit(int).result()
            taken.append(perf_counter() - started)
            one, two = (
                seconds(partial(trials.run_all, [Trial("supervised", arguments, seed)], executor))
                for seed in islice(seeds, 2)
            )
            more.append(one - two)
    later, first = statistics.median(taken[1:]), statistics.median(more[1:])
    bound = f"at most {START:g}"
    return [
        Measured("the first worker's first answer", *[taken[0]] * 3, "s"),
        Measured("a later worker's", later, *span(taken[1:]), "s", bound, later <= START),
        Measured("its first run, more than its second: imports, data", first, *span(more[1:]), "s"),
    ]


def span(found: Sequence[float]) -> tuple[float, float]:
    return min(found), max(found)


def measured(
    runs: int = RUNS, rounds: int = ROUNDS, images: int = IMAGES, epochs: int = EPOCHS
) -> list[Measured]:
    """The table's rows."""
    arguments, made, jobs = description(images, epochs), count(), pool.default_jobs()
    sizes: list[float] = []
    with (
        temporary_folder("kdnb-") as folder,
        mock.patch.dict(os.environ, KDNB_RUNS=str(folder)),
        ExitStack() as stack,
    ):
        rows = starting(arguments, made)
        executor = stack.enter_context(pool.pool(jobs))

        def ours() -> float:
            batch = [Trial("supervised", arguments, next(made)) for _ in range(runs)]
            taken = seconds(lambda: trials.run_all(batch, executor))
            sizes.append(resident(executor, jobs))
            return taken

        def bares() -> None:
            list(executor.map(bare, range(runs), [arguments] * runs))

        works: dict[str, Work] = {"ours": ours, "bare": bares}
        times = in_turns(works, rounds)
    rows.append(
        ratio(f"runs a minute: ours / bare loop, {jobs} processes", times["bare"], times["ours"],
              at_least=SHARE)
    )  # fmt: skip
    for form, found in times.items():
        each = [60 * runs / one for one in found]
        name = f"{form}, {runs * rounds} runs"
        rows.append(Measured(name, statistics.median(each), *span(each), "runs/min"))
    third = max(1, rounds // 3)
    rows.append(
        ratio(f"a run's time after {runs * rounds} runs: the last over the first",
              times["ours"][-third:], times["ours"][:third], at_most=GROWTH)
    )  # fmt: skip
    rows.append(
        ratio("a worker's memory after them: at the end over after the first two rounds",
              sizes[-1:], sizes[1:2], at_most=GROWTH)
    )  # fmt: skip
    return rows
