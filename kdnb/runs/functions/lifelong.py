"""Networks that learn classes in contexts, one after the other, as trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from kdnb import data as datasets
from kdnb.losses.checks import check_choice
from kdnb.methods import lifelong
from kdnb.runs.task import built, data_spec
from kdnb.runs.trials import Context, Outcome
from kdnb.training import Recipe
from kdnb.training.inputs import evaluated, examples_of
from kdnb.training.randomness import mix

METHODS: dict[str, Callable[..., lifelong.LifelongFit]] = {
    "fine_tune": lifelong.fine_tune,
    "train_jointly": lifelong.train_jointly,
    "lwf": lifelong.lwf,
    "icarl": lifelong.icarl,
    "replay": lifelong.replay,
    "ewc": lifelong.ewc,
}


def lifelong_spec(
    name: str, *, limit: int | None = None, scored: str = "test", evaluated: int | None = None
) -> dict[str, Any]:
    """The `data` argument of `lifelong_trial`.

    Args:
        limit: number of training images, the first ones.
        scored: "test"; or "validation" for pilots, which then learn from the other training images
            and read no test image.
        evaluated: number of images that are scored, the first ones.
    """
    check_choice(("test", "validation"), scored=scored)
    split = "train_all" if scored == "test" else "train"
    return {**data_spec(name, split=split, limit=limit, evaluated=evaluated), "scored": scored}


def lifelong_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    contexts: int,
    scenario: str,
    method: dict[str, Any],
) -> Outcome:
    """One method on the classes of a data set, in contexts whose order the seed determines.

    All trials of a seed with the same number of contexts have the same order, and those with the same
    number of columns the same initial weights.

    Args:
        data: from `lifelong_spec`.
        network: `{"name": ..., **options}`; its size follows from the contexts.
        contexts: their number; all have the same size.
        scenario: of `Contexts`.
        method: `{"name": ..., **options}`, a key of `METHODS`.

    Returns:
        In percent: `accuracy`, the average after the last context; `first` and `last`, on the first and
        the last context then; `learning`, the mean over contexts of the accuracy when each was learnt,
        `least_learning`, the lowest of them, and `forgetting`, except for joint training. The series
        `matrix_<k>` has row k of the accuracy matrix, as far as it was measured.
    """
    options = dict(method)
    name = options.pop("name")
    check_choice(tuple(METHODS), method=name)
    source = datasets.load(data["name"])
    train = examples_of(source, data)
    test = evaluated(source.test if data["scored"] == "test" else source.validation, data)
    order = lifelong.class_order(len(source.classes), contexts, mix(seed, contexts))
    split = lifelong.split_classes(train, test, order, scenario)
    sized = dataclasses.replace(source, classes=source.classes[: split.columns])
    model = built(network, sized, seed)
    fit = METHODS[name](
        model,
        split,
        Recipe(**recipe),
        seed=seed,
        checkpoint=context and context.checkpoint,
        **options,
    )
    matrix, last = fit.accuracy, contexts - 1
    metrics = {
        "accuracy": lifelong.average_accuracy(matrix),
        "first": float(matrix[last, 0]),
        "last": float(matrix[last, last]),
    }
    if name != "train_jointly":
        metrics |= {
            "learning": lifelong.learning_accuracy(matrix),
            "least_learning": float(matrix.diagonal().min()),
            "forgetting": lifelong.forgetting(matrix),
        }
    series = {
        f"matrix_{row + 1}": matrix[row, : row + 1].tolist()
        for row in range(contexts)
        if not matrix[row, : row + 1].isnan().any()
    }
    return Outcome(metrics, series, {})
