"""Quantised students as runs: rounded after training, trained on few points, or points trained."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.methods.offline.distil import train
from kdnb.methods.quantized.common import imitate
from kdnb.methods.quantized.polino import differentiable_quantization, quantized_distillation
from kdnb.methods.quantized.quantisers import uniform
from kdnb.methods.quantized.weights import quantised, rounded, stored_bytes
from kdnb.runs.task import Task, network_of, prepared
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training.inputs import evaluated, logits_on
from kdnb.training.randomness import mix
from kdnb.training.teacher import teacher_logits


def quantised_student(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    bits: int,
    bucket: int | None = 256,
    teacher: Result | None = None,
    temperature: float = 2.0,
    soft_weight: float = 0.7,
    label_weight: float = 0.3,
    shuffled: bool = False,
) -> Outcome:
    """A student whose weights are quantised in every step of its training.

    It starts from the same weights as `supervised` and `distilled` give the same network and seed.

    Args:
        teacher: by whom it is taught; without one it learns from labels alone, and the last four
            arguments are not read.
        shuffled: each image gets the teacher's answer to another image of the same label.

    Returns:
        As every trial; and `bytes`, of weights and scales.
    """
    task = prepared(context, seed, data, network, recipe, name="student" if teacher else "network")
    student = task.network
    options: dict[str, Any] = {"seed": seed, **task.options}
    terms = {
        "temperature": temperature, "soft_weight": soft_weight, "label_weight": label_weight
    }  # fmt: skip
    if teacher is None:
        with quantised(student, partial(uniform, bits=bits, bucket=bucket)):
            history = train(student, task.batches, task.recipe, **options).rows
    elif shuffled:
        with quantised(student, partial(uniform, bits=bits, bucket=bucket)):
            history = _taught_others(task, network_of(teacher), terms, options)
    else:
        history = quantized_distillation(
            student, network_of(teacher), task.batches, task.recipe, bits=bits, bucket=bucket,
            **terms, **options,
        ).rows  # fmt: skip
    outcome = task.outcome(history)
    size = {"bytes": stored_bytes(student, bits, bucket)}
    return Outcome({**outcome.metrics, **size}, outcome.series, outcome.tensors)


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
    """The points of a trained student's weights learn; it is its own teacher, in full precision."""
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
        `<name>_validation_errors`, `<name>_test_errors` and `<name>_test_cross_entropy` of each.
    """
    about = start.description["arguments"]
    task = prepared(context, seed, data, about["network"], about["recipe"], start=start)
    sets = {
        "validation": evaluated(task.source.validation, data),
        "test": evaluated(task.source.test, data),
    }
    metrics = {}
    for name, options in roundings.items():
        found = rounded(copy.deepcopy(task.network), partial(uniform, **options))
        for part, images in sets.items():
            logits = logits_on(found, images, task.source)
            labels = images.labels.cpu()
            metrics[f"{name}_{part}_errors"] = float((logits.argmax(1) != labels).sum())
        metrics[f"{name}_test_cross_entropy"] = float(F.cross_entropy(logits, labels))
    return Outcome(metrics)


def _taught_others(
    task: Task, teacher: torch.nn.Module, terms: dict[str, float], options: dict[str, Any]
) -> list[dict[str, float]]:
    """Distillation in which each image has the teacher's answer to another one of its label."""
    answers, labels = teacher_logits(teacher, task.batches), task.batches.images.labels
    stream = torch.Generator().manual_seed(mix(options["seed"], 57))
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        answers[rows] = answers[rows[torch.randperm(len(rows), generator=stream)]]

    def others(batch: Batch, ours: Tensor, theirs: Tensor) -> dict[str, Tensor]:
        soft = soft_targets(ours, answers[batch.index], terms["temperature"])
        return {
            "soft": terms["soft_weight"] * soft,
            "hard": terms["label_weight"] * hard_loss(ours, batch.labels),
        }

    return imitate(
        task.network, teacher, task.batches, task.recipe, others, about={"shuffled": terms},
        **options,
    )  # fmt: skip
