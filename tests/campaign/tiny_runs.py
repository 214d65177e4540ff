"""Runs of a few milliseconds that write all that real ones write, for kills, damage and tiny disks.

`stage` is called where a kill may strike without a file being touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import kdnb
from kdnb.data import Batches, Images
from kdnb.runs import registry, trials
from kdnb.runs.trials import Context, Outcome, Result, Trial
from kdnb.training import Recipe

EPOCHS = 3
RECIPE = Recipe(epochs=EPOCHS, batch_size=8, lr=0.1, momentum=0.9, precision="32")
stage: Callable[[], None] = lambda: None


def network(seed: int = 0, hidden: int = 6) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Dropout(0.2), nn.Linear(hidden, 3),
    )  # fmt: skip


def examples(seed: int = 0) -> TensorDataset:
    stream = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(21, 1, 4, 4, generator=stream), torch.arange(21) % 3)


def views(seed: int = 0) -> Batches:
    """Flipped pictures, whose teacher's answers are kept on disk."""
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (21, 1, 4, 4), generator=stream, dtype=torch.uint8)
    images = Images(pixels, torch.arange(21) % 3)
    return Batches(images, 8, mean=(0.5,), sd=(0.3,), seed=seed, flip=True)


def _watch(networks: Any) -> dict[str, float]:
    stage()
    return {}


def _numbers(fit: Any) -> dict[str, list[float]]:
    return {key: list(fit.history[key]) for key in fit.history if key != "seconds"}


def trained(file: Path | None, seed: int = 0, start: dict[str, Tensor] | None = None) -> Any:
    """A network trained from its checkpoint, where there is one: its history and its weights."""
    student = network(seed)
    if start:
        student.load_state_dict(start)
    fit = kdnb.train(
        student, examples(), RECIPE, seed=seed, checkpoint=file, evaluate=_watch
    )  # fmt: skip
    return _numbers(fit), student.state_dict()


def taught(file: Path | None, seed: int = 0) -> Any:
    """A student of a frozen teacher, whose answers are kept in the runs folder."""
    student = network(seed)
    recipe = RECIPE.model_copy(update={"flip": True})
    fit = kdnb.distil(
        student, network(9, 12).eval(), views(seed), recipe, method="kd", seed=seed,
        checkpoint=file, evaluate=_watch,
    )  # fmt: skip
    return _numbers(fit), student.state_dict()


def trace(word: str) -> None:
    with open(os.environ["KDNB_TEST_TRACE"], "a") as file:
        file.write(f"{word}\n")


def learnt(
    context: Context, seed: int, *, start: Result | None = None, by: str = "train"
) -> Outcome:
    """The trial's function."""
    trace(f"{context.checkpoint.parent.name} {os.getpid()}")
    if by == "kd":
        history, weights = taught(context.checkpoint, seed)
    else:
        history, weights = trained(context.checkpoint, seed, start and start.tensors())
    return Outcome({"hard": history["hard"][-1]}, history, weights)


registry.register("campaign_learnt", "tiny_runs:learnt")


def trial(seed: int = 0, *, rests: bool = False, by: str = "train") -> Trial:
    """A run; one that rests on another starts from its weights."""
    arguments = {"start": trial(seed + 100)} if rests else {"by": by}
    return Trial("campaign_learnt", arguments, seed)


def told(result: Result) -> tuple[Any, ...]:
    """All of a result that must not hang on how it came about."""
    weights = {name: value.tolist() for name, value in result.tensors().items()}
    return result.digest, result.metrics, result.series, weights


def plain(found: Any) -> tuple[Any, ...]:
    history, weights = found
    return history, {name: value.tolist() for name, value in weights.items()}


def everything(*seeds: int) -> list[Trial]:
    """Runs of all kinds, some resting on others."""
    return [
        one
        for seed in seeds
        for one in (trial(seed), trial(seed, rests=True), trial(seed, by="kd"))
    ]


def run_all(*described: dict[str, Any]) -> list[Any]:
    """What a process does that is given descriptions of trials; what it found."""
    wanted = [trials.described(one) for one in described]
    found = trials.run_all(wanted)
    return [told(found[one.digest]) for one in wanted]
