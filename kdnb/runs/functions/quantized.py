"""Quantised students as runs: rounded after training, trained on few points, or points trained."""

from __future__ import annotations

import contextlib
import functools
import json
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.methods.offline.distil import train
from kdnb.methods.quantized.common import imitate, kd_terms
from kdnb.methods.quantized.polino import differentiable_quantization
from kdnb.methods.quantized.quantisers import uniform
from kdnb.methods.quantized.weights import quantised, rounded, stored_bytes
from kdnb.runs.task import network_of, prepared
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training.inputs import evaluated, examples_of, logits_on
from kdnb.training.randomness import mix


def quantised_student(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    bits: int | None,
    bucket: int | None = 256,
    teacher: Result | None = None,
    temperature: float = 2.0,
    soft_weight: float = 0.7,
    label_weight: float = 0.3,
    shuffled: bool = False,
) -> Outcome:
    """A student whose weights are quantised in every step of its training.

    It starts from the weights that `supervised` and `distilled` give the same network and seed.

    Args:
        data: the recipe has no augmentation: the teacher sees each image once.
        bits: None for full precision.
        teacher: the trial of its teacher; without one it learns from labels alone, and the last
            four arguments are ignored.
        shuffled: each image gets the teacher's output for another image with the same label.

    Returns:
        As for every trial; and `bytes`, of weights and scales.
    """
    task = prepared(context, seed, data, network, recipe, name="student" if teacher else "network")
    student, points = task.network, contextlib.nullcontext()
    if bits is not None:
        points = quantised(student, partial(uniform, bits=bits, bucket=bucket))
    options: dict[str, Any] = {"seed": seed, **task.options}
    with points:
        if teacher is None:
            history = train(student, task.batches, task.recipe, **options).rows
        else:
            answers = _answers(teacher.digest, json.dumps(data))
            if shuffled:
                answers = _of_others(answers, task.batches.images.labels, seed)
            history = imitate(
                student, network_of(teacher), task.batches, task.recipe,
                kd_terms(soft_weight, label_weight, temperature), answers=answers,
                about={"bits": bits, "terms": [temperature, soft_weight, label_weight],
                       "shuffled": shuffled},
                **options,
            )  # fmt: skip
    outcome = task.outcome(history)
    size = stored_bytes(student, bits or 32, bucket)
    return Outcome({**outcome.metrics, "bytes": size}, outcome.series, outcome.tensors)


@functools.lru_cache(maxsize=2)
def _answers(digest: str, data: str) -> Tensor:
    """A finished teacher's logits for a training set, kept for the next trials of this process."""
    from kdnb.runs import trials

    spec = json.loads(data)
    source = datasets.load(spec["name"])
    return logits_on(network_of(trials.read(digest)), examples_of(source, spec), source)


def _of_others(answers: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Each image gets the row of a random image with the same label."""
    mixed, stream = answers.clone(), torch.Generator().manual_seed(mix(seed, 57))
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        mixed[rows] = answers[rows[torch.randperm(len(rows), generator=stream)]]
    return mixed


def quantised_points(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    start: Result,
    bits: int,
    bucket: int | None = 256,
    temperature: float = 2.0,
    soft_weight: float = 0.7,
    label_weight: float = 0.3,
) -> Outcome:
    """Learn the points of a trained student's weights; its teacher is itself in full precision."""
    task = prepared(context, seed, data, network, recipe, start=start, name="student")
    fit = differentiable_quantization(
        task.network, network_of(start), task.batches, task.recipe, bits=bits, bucket=bucket,
        temperature=temperature, soft_weight=soft_weight, label_weight=label_weight, seed=seed,
        **task.options,
    )  # fmt: skip
    return task.outcome(fit.rows)


def rounded_student(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    start: Result,
    roundings: dict[str, dict[str, Any]],
) -> Outcome:
    """A trained student after rounding, without any training.

    Args:
        start: the student in full precision.
        roundings: by name, `bits` and `bucket` of `uniform`.

    Returns:
        `<name>_test_errors` and `<name>_test_cross_entropy` of each.
    """
    about = start.description["arguments"]
    task = prepared(context, seed, data, about["network"], about["recipe"], start=start)
    images = evaluated(task.source.test, data)
    labels, metrics = images.labels.cpu(), {}
    for name, options in roundings.items():
        found = rounded(task.network, partial(uniform, **options))
        logits = logits_on(found, images, task.source)
        metrics[f"{name}_test_errors"] = float((logits.argmax(1) != labels).sum())
        metrics[f"{name}_test_cross_entropy"] = float(F.cross_entropy(logits, labels))
    return Outcome(metrics)
