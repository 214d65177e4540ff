"""Classifiers of some classes, and the students that unify them, as runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from kdnb import data as datasets
from kdnb.data import ImageData, Images
from kdnb.losses import connected_classes
from kdnb.methods.multi_teacher.uhc import RULES, unify
from kdnb.methods.offline.distil import train
from kdnb.runs.task import built, prepared, restored, weights_kept
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training import Recipe
from kdnb.training.inputs import batches_of, evaluated, examples_of, logits_on


def specialist(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
) -> Outcome:
    """A trial of `train` on only the classes `data["only"]`, with one logit for each, in their order.

    Returns:
        `own_test_errors` and `own_test_images`: on its classes only; `train_errors`; and its
        logits for all test images.
    """
    source, plan = datasets.load(data["name"]), Recipe(**recipe)
    own = of_classes(source, data["only"])
    images = renumbered(examples_of(source, data), data["only"])
    model = built(network, own, seed)
    batches = batches_of(images, source, plan, seed)
    history = train(model, batches, plan, seed=seed, checkpoint=context.checkpoint).rows
    test = evaluated(source.test, data)
    logits = {"train": logits_on(model, images, source), "test": logits_on(model, test, source)}
    wrong, seen = own_errors(logits["test"], test.labels, data["only"])
    metrics = {
        "own_test_errors": float(wrong),
        "own_test_images": float(seen),
        "train_errors": float((logits["train"].argmax(1) != images.labels).sum()),
        "train_images": float(len(images)),
    }
    series = {key: [row[key] for row in history] for key in history[0]}
    return Outcome(metrics, series, {**weights_kept(model), "logits.test": logits["test"]})


def unified(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    classifiers: list[Result],
    estimate: str,
    temperature: float = 1.0,
) -> Outcome:
    """A trial of `unify`; the student has the initial weights of `supervised`.

    Args:
        data: the images without labels; existing labels are used only for measurements.
        classifiers: trials of `specialist`.

    Returns:
        As for every trial; and `least_own_accuracy`, of the classifiers on their own classes, and
        `best_single_accuracy`, of one classifier on all classes, in percent; `connected`, 1 if
        the class sets are connected; `estimate_test_errors`, of q itself without a student, if
        there is one.
    """
    task = prepared(context, seed, data, network, recipe, name="student")
    sets = [one.description["arguments"]["data"]["only"] for one in classifiers]
    networks = [
        restored(one, one.description["arguments"]["network"], of_classes(task.source, only))
        for one, only in zip(classifiers, sets, strict=True)
    ]
    fit = unify(
        task.network, networks, sets, task.batches, task.recipe, estimate=estimate,
        temperature=temperature, unconnected=True, seed=seed, checkpoint=context.checkpoint,
    )  # fmt: skip
    outcome = task.outcome(fit.rows)
    classes, test = len(task.source.classes), evaluated(task.source.test, data)
    logits = [one.tensors()["logits.test"][: len(test)] for one in classifiers]
    own = [
        1 - one.metrics["own_test_errors"] / one.metrics["own_test_images"] for one in classifiers
    ]
    alone = [
        float((torch.tensor(only)[said.argmax(1)] == test.labels).double().mean())
        for said, only in zip(logits, sets, strict=True)
    ]
    found = {
        "least_own_accuracy": 100 * min(own),
        "best_single_accuracy": 100 * max(alone),
        "connected": float(len(connected_classes(sets, classes)) == 1),
    }
    if estimate in RULES:
        q = RULES[estimate]([said / temperature for said in logits], sets, classes)
        found["estimate_test_errors"] = float((q.argmax(1) != test.labels).sum())
    return Outcome({**outcome.metrics, **found}, outcome.series, outcome.tensors)


def of_classes(source: ImageData, only: list[int]) -> ImageData:
    """A data set that reports only some of its classes, to set the size of a network's output."""
    return dataclasses.replace(source, classes=tuple(source.classes[label] for label in only))


def renumbered(images: Images, only: list[int]) -> Images:
    """Images of some classes, with labels that are positions in `only`."""
    places = torch.full((max(only) + 1,), -1)
    places[torch.tensor(only)] = torch.arange(len(only))
    return Images(images.images, places[images.labels], images.card)


def own_errors(logits: Tensor, labels: Tensor, only: list[int]) -> tuple[int, int]:
    """Errors of a classifier on the images of its classes, and the number of these images."""
    classes = torch.tensor(only)
    mine = torch.isin(labels, classes)
    said = classes[logits[mine].argmax(1)]
    return int((said != labels[mine]).sum()), int(mine.sum())
