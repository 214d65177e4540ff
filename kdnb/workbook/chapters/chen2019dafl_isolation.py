"""Chapter 5-6's proof that no training image is touched; and a bank that is used again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from kdnb import data as datasets
from kdnb import losses
from kdnb.data import ImageData
from kdnb.methods.data_free import Bank, collapse
from kdnb.methods.offline import distil
from kdnb.paths import temporary_folder
from kdnb.runs import registry, trials
from kdnb.runs.task import built, network_of
from kdnb.runs.trials import Context, Outcome, Result, Trial
from kdnb.training import Recipe
from kdnb.training.inputs import logits_on
from kdnb.workbook.chapters.chen2019dafl_live import BANK


class TouchedTrainingData(AssertionError):
    """Somebody asked for a training image."""


class Untouchable:
    """Stands where training images are, and raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise TouchedTrainingData(f"the training set was touched: .{name}")

    def __len__(self) -> NoReturn:
        raise TouchedTrainingData("the training images were counted")

    def __getitem__(self, index: Any) -> NoReturn:
        raise TouchedTrainingData("a training image was read")


@contextmanager
def untouchable_training_set(name: str = "mnist") -> Iterator[ImageData]:
    """While this lasts, whoever loads the data set gets one whose training images raise."""
    source, no = datasets.load(name), Untouchable()
    guarded = replace(source, train_all=no, train=no, validation=no)
    load, datasets.load = datasets.load, lambda *_, **__: guarded
    try:
        yield guarded
    finally:
        datasets.load = load


def anew(trial: Trial) -> Outcome:
    """Run a trial's function here and now, whatever is on disk; those it rests on are finished.

    The detector's log is silent meanwhile: a run of two iterations always looks like a collapse.
    """
    function = registry.function_of(trial.function)
    arguments = {
        key: trials.run(value) if isinstance(value, Trial) else value
        for key, value in trial.arguments.items()
    }
    collapse.log.disabled = True
    try:
        with temporary_folder("kdnb-") as folder:
            return function(Context(folder / "checkpoint"), trial.seed, **arguments)
    finally:
        collapse.log.disabled = False


def learn_from(
    bank: Bank, teacher: Result, source: ImageData, network: dict[str, Any], *, evaluated: int
) -> float:
    """Another student learns from a bank; its accuracy in percent of the first test images.

    It takes as many steps, in as large batches, as the bank's first student did.
    """
    student, plan = built(network, source, seed=1), Recipe(**BANK)
    soft = partial(losses.soft_targets, temperature=20.0)
    batches = bank.batches(plan.batch_size)
    distil.distil(student, network_of(teacher), batches, plan, method=soft, label_weight=0)
    test = source.test.select(slice(evaluated))
    said = logits_on(student, test, source).argmax(1)
    return 100 * float((said == test.labels).float().mean())
