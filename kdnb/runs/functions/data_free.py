"""Data-free distillation as trials: described by JSON values, memoised on disk.

None of them uses a training or validation image: `isolated` removes them first. The student is
evaluated on test images after every epoch, but nothing is selected by these results: we report the
last epoch, and the mean of the last ten with their spread.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb import losses
from kdnb.data import ImageData
from kdnb.methods.data_free.bank import Bank, bank_of
from kdnb.methods.data_free.collapse import CollapseDetector
from kdnb.methods.data_free.dafl import WEIGHTS, dafl
from kdnb.methods.data_free.dfad import dfad
from kdnb.methods.data_free.generators import Generator, generate
from kdnb.methods.data_free.synthesis import NoiseBatches
from kdnb.methods.data_free.zskt import zskt
from kdnb.methods.offline.distil import distil
from kdnb.runs.task import as_trained, built, network_of, weights_kept
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.inputs import evaluated, logits_on

DAFL_STUDENT = {"optimiser": "adam", "lr": 2e-3, "schedule": "constant"}
DAFL_GENERATOR = {"optimiser": "adam", "lr": 0.2, "schedule": "constant"}
BASES = {"released": 10.0, "natural": None}
Adversary = Callable[..., list[dict[str, float]]]
ADVERSARIES: dict[str, Adversary] = {"zskt": zskt, "dfad": dfad}
# Defaults of descriptions that omit these options: ZSKT as it was first implemented.
FIRST_FORMS: dict[str, dict[str, Any]] = {
    "zskt": {"max_norm": None, "attention_weight": 250.0},
    "dfad": {},
}
SHOWN = 100  # images of the generator that a trial keeps


def isolated(source: ImageData) -> ImageData:
    """The data set without its training and validation images: only the test set and the card.

    The mean and standard deviation of the pixels stay: they are part of the teacher's input normalisation.
    """
    nothing = source.test.select(slice(0, 0))
    return replace(source, train_all=nothing, train=nothing, validation=nothing)


def dafl_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    teacher: Result,
    generator: dict[str, Any],
    iterations: int = 24_000,
    batch_size: int = 512,
    every: int = 120,
    weights: Mapping[str, float] = WEIGHTS,
    entropy: str = "released",
    features: str = "stage3",
    student_recipe: Mapping[str, Any] = DAFL_STUDENT,
    generator_recipe: Mapping[str, Any] = DAFL_GENERATOR,
    precision: str = "auto",
) -> Outcome:
    """A trial of `dafl`, or of its baseline: a student that learns from images of normal noise.

    The defaults are the authors' MNIST run.

    Args:
        data: a `data_spec`; only its `name` and `evaluated` are used.
        network: the student's description, as `built` takes it; the seed fixes its weights.
        teacher: the trial that trained it.
        generator: arguments of `Generator` except the channels; `{"name": "noise", "image_size":
            32}` for the baseline, which has no generator and ignores weights and entropy.
        iterations: in total, a multiple of `every`.
        every: iterations per epoch: the student is evaluated after each.
        weights: of the terms; omit some for the ablation.
        entropy: "released" for logarithms to base 10, "natural" for base e.
        features: the teacher's module for the activation term.
        student_recipe, generator_recipe: optimiser, rate and schedule.
        precision: for the whole run.

    Returns:
        See `measured`; with a generator also its collapse measures over the last epoch
        (`class_balance`, `diversity`, `confidence`, `collapse_warnings`, and
        `made_share_<class>`: the class histogram of its images according to the teacher), the
        tensors `generator.<key>` and 100 images with the teacher's logits,
        `bank.images` and `bank.logits`.

    Raises:
        ValueError: for an unknown entropy, or iterations that are not a multiple of `every`.
    """
    if entropy not in BASES:
        raise ValueError(f"entropy must be one of {', '.join(BASES)}; got {entropy!r}.")
    source = isolated(datasets.load(data["name"]))
    student, master = built(network, source, seed), network_of(teacher, source)
    recipe = _recipe(iterations, every, batch_size, precision, student_recipe)
    watch = {"checkpoint": context.checkpoint, "evaluate": errors_on(source, data)}
    if generator["name"] == "noise":
        size = generator["image_size"]
        shape = (source.test.images.shape[1], size, size)
        history = distil(
            student, master, NoiseBatches(every, batch_size, shape, seed=seed), recipe,
            method=partial(losses.soft_targets, temperature=1.0), label_weight=0, seed=seed,
            **watch,
        ).rows  # fmt: skip
        return measured(as_trained(student, recipe), source, data, history)
    return _played(
        dafl, student, master, generator, source, data, recipe,
        generator_recipe=_recipe(iterations, every, batch_size, precision, generator_recipe),
        steps=every, weights=weights, base=BASES[entropy], features=features, seed=seed, **watch,
    )  # fmt: skip


def adversarial_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    teacher: Result,
    generator: dict[str, Any],
    method: str,
    iterations: int,
    batch_size: int,
    every: int,
    student_recipe: Mapping[str, Any],
    generator_recipe: Mapping[str, Any],
    precision: str = "auto",
    **options: Any,
) -> Outcome:
    """A trial of `zskt` or `dfad`. Arguments and results as for `dafl_trial`.

    Args:
        method: "zskt" or "dfad".
        iterations, every: steps of the student.
        options: of the method: `student_steps`, `attention`, `attention_weight`, `max_norm`. Omitted
            options are as in the first form (`FIRST_FORMS`): ZSKT without clipping.

    Raises:
        ValueError: for an unknown method, or iterations that are not a multiple of `every`.
    """
    if method not in ADVERSARIES:
        raise ValueError(f"method must be one of {', '.join(ADVERSARIES)}; got {method!r}.")
    source = isolated(datasets.load(data["name"]))
    student, master = built(network, source, seed), network_of(teacher, source)
    return _played(
        ADVERSARIES[method], student, master, generator, source, data,
        _recipe(iterations, every, batch_size, precision, student_recipe),
        generator_recipe=_recipe(iterations, every, batch_size, precision, generator_recipe),
        steps=every, seed=seed, checkpoint=context.checkpoint, evaluate=errors_on(source, data),
        **{**FIRST_FORMS[method], **options},
    )  # fmt: skip


def measured(
    student: nn.Module, source: ImageData, data: dict[str, Any], history: list[dict[str, float]]
) -> Outcome:
    """The measurements of a student without data, only on test images after training.

    Returns:
        `test_errors` of the last epoch, `last_ten_test_errors` and `last_ten_test_errors_sd` over
        the last ten evaluations (fewer in a shorter run), `test_cross_entropy`, `test_images`;
        the series of the history, including `test_errors` after every epoch; and the tensors
        `network.<key>` and `logits.test`.
    """
    test = evaluated(source.test, data)
    logits = logits_on(student, test, source)
    labels = test.labels.cpu()
    last = [row["test_errors"] for row in history][-10:]
    metrics = {
        "test_errors": float((logits.argmax(1) != labels).sum()),
        "last_ten_test_errors": statistics.fmean(last),
        "last_ten_test_errors_sd": statistics.stdev(last) if len(last) > 1 else 0.0,
        "test_cross_entropy": float(F.cross_entropy(logits, labels)),
        "test_images": float(len(test)),
    }
    series = {key: [row[key] for row in history] for key in history[0]}
    return Outcome(metrics, series, {**weights_kept(student), "logits.test": logits})


def errors_on(source: ImageData, data: dict[str, Any]) -> Callable[[Any], dict[str, float]]:
    """Test errors after every epoch: reported, never used to choose an epoch."""
    test = evaluated(source.test, data)

    def evaluate(networks: Mapping[str, nn.Module]) -> dict[str, float]:
        logits = logits_on(networks["student"], test, source)
        return {"test_errors": float((logits.argmax(1) != test.labels).sum())}

    return evaluate


def _recipe(
    iterations: int, every: int, batch_size: int, precision: str, more: Mapping[str, Any]
) -> Recipe:
    if iterations < every or iterations % every:
        raise ValueError(f"iterations must be a multiple of every; got {iterations} and {every}.")
    return Recipe(epochs=iterations // every, batch_size=batch_size, precision=precision, **more)


def _played(
    method: Adversary,
    student: nn.Module,
    teacher: nn.Module,
    generator: dict[str, Any],
    source: ImageData,
    data: dict[str, Any],
    recipe: Recipe,
    *,
    seed: int,
    **options: Any,
) -> Outcome:
    """A trial with a generator: the student, the generated images, and whether it collapsed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1_000_003)  # not the student's stream
        maker = Generator(channels=source.test.images.shape[1], **generator)
    detector = CollapseDetector(len(source.classes))
    history = method(student, teacher, maker, recipe, detector=detector, seed=seed, **options)
    outcome = measured(as_trained(student, recipe), source, data, history)
    measures = {key: history[-1][key] for key in detector.limits}
    measures["collapse_warnings"] = float(
        sum(any(row[key] < at for key, at in detector.limits.items()) for row in history)
    )
    bank = bank_of(generate(maker, SHOWN), teacher)
    # A run that resumed after its last epoch has seen no batch: use its saved images instead.
    counts = detector.counts if detector.counts.sum() else bank.histogram()
    return Outcome(
        outcome.metrics | measures | class_shares(counts),
        outcome.series,
        {**outcome.tensors, **weights_kept(maker, "generator"), **bank_tensors(bank)},
    )


def bank_tensors(bank: Bank) -> dict[str, Tensor]:
    """A bank as the tensors of a trial."""
    return {"bank.images": bank.images, "bank.logits": bank.logits}


def class_shares(counts: Tensor) -> dict[str, float]:
    """A histogram of classes as metrics, `made_share_<class>`, which sum to 1."""
    shares = (counts / counts.sum()).tolist()
    return {f"made_share_{label}": share for label, share in enumerate(shares)}
