"""The loop shared by all methods of this section: contexts in turn, and an accuracy matrix."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch, Images, as_batches, in_order
from kdnb.losses import hard_loss
from kdnb.losses.checks import check_number
from kdnb.methods.lifelong import accuracy_matrix
from kdnb.methods.lifelong.contexts import Contexts, named_context
from kdnb.methods.lifelong.heads import head_of, rows_learning
from kdnb.nets import constrain
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.answers import Output, ask, logits_of
from kdnb.training.borrowed import borrowed, evaluating, twin_of
from kdnb.training.first import check_finite_weights, check_module, first_batch, tried
from kdnb.training.inputs import batches_for
from kdnb.training.randomness import check_seed, mix

if TYPE_CHECKING:
    import pandas as pd

Terms = Callable[[Networks, Batch], dict[str, Tensor]]


@dataclass(frozen=True)
class LifelongFit(Fit):
    """A finished sequence of trainings.

    Attributes:
        accuracy: (contexts, contexts) in percent: row k holds every context after context k was
            learnt. NaN if it was not evaluated, or has no answer yet.
        untrained: (contexts,), for the network before any training; NaN if it was not evaluated.
    """

    accuracy: Tensor | None = None
    untrained: Tensor | None = None

    @property
    def measures(self) -> pd.Series:
        """Average accuracy, forgetting and transfer; see `lifelong.accuracy_matrix`."""
        return accuracy_matrix.summary(self.accuracy, self.untrained)


@dataclass(frozen=True)
class Stage:
    """The data that the terms of one context may use.

    Attributes:
        number: index of the context, from 0.
        old: a frozen copy of the network before it; None in the first context.
        batches: of its training data.
    """

    number: int
    old: nn.Module | None
    batches: Any


def in_sequence(
    network: nn.Module,
    contexts: Contexts,
    recipe: Recipe,
    plan: Callable[[Stage], Terms],
    *,
    about: Mapping[str, Any],
    seed: int = 0,
    checkpoint: Path | str | None = None,
    data: Callable[[int], Any] | None = None,
    after: Callable[[Stage], None] | None = None,
    classifier: nn.Module | None = None,
    stages: Iterable[int] | None = None,
    known: int = 0,
    body: bool = True,
    warm_up: int = 0,
    transfer: bool = False,
    output: Output = None,
    given: Mapping[str, Any] | None = None,
) -> LifelongFit:
    """Train on one context after another, and evaluate all of them after each.

    Args:
        network: a logit for each column of the contexts; trained in place.
        plan: the terms to minimise in a context.
        about: identifies a checkpoint of the run, besides data and networks.
        checkpoint: a file; each context has its own file in the same folder.
        data: the training data of a context; its own if None.
        after: called when a context is learnt, before it is evaluated.
        classifier: the classifier to evaluate; the network itself if None.
        stages: the contexts that are trained on; all from `known` on if None.
        known: the number of contexts already learnt. Their training data are not read, and may be
            None.
        body: if False, only the head's new rows are trained from the second context on.
        warm_up: epochs before each later context in which only the head's new rows are trained.
        transfer: also evaluate contexts before they are learnt, for `forward_transfer`.
        output: where the logits are in what the network returns, see `kdnb.distil`.
        given: the recipe's fields given by the caller.

    Raises:
        ValueError: for a network whose logits do not match the contexts' columns, a context without
            data or with labels outside its own columns, as `kdnb.distil`; or for a network without
            a head if only rows of it should learn.
    """
    check_seed(seed)
    check_number(least=0, whole=True, warm_up=warm_up)
    check_number(least=0, most=len(contexts) - 1, whole=True, known=known)
    check_network(network, contexts, recipe, known, output)
    count, classifier = len(contexts), classifier or network
    if (warm_up or not body) and contexts.scenario == "domain":
        raise ValueError("in the scenario domain no row of the head is new: all of them learn.")
    head = head_of(network, contexts.columns) if warm_up or not body else ""
    matrix = torch.full((count, count), torch.nan, dtype=torch.float64)
    untrained = matrix[0].clone()
    if transfer:
        untrained = accuracies(classifier, contexts, -1, range(count), output)
    history: list[dict[str, Any]] = []
    old = frozen_copy(network) if known else None
    with borrowed(network):
        for number in range(known, count) if stages is None else stages:
            examples = contexts.train[number] if data is None else data(number)
            batches = batches_for(examples, recipe, mix(seed, number), given=given or ())
            stage = Stage(number, old, batches)
            terms, common = plan(stage), {"seed": mix(seed, number, 1), "output": output}
            new = contexts.own(number) if number else None
            if warm_up and new:
                first = recipe.model_copy(update={"epochs": warm_up})
                where = beside(checkpoint, f"{number + 1}-warm-up")
                learn(network, old, batches, first, terms, rows=(head, new), checkpoint=where,
                      about={**about, "context": number, "warm_up": True}, **common)  # fmt: skip
            rows = learn(
                network, old, batches, recipe, terms, rows=(head, new) if new and not body else None,
                checkpoint=beside(checkpoint, f"{number + 1}"),
                about={**about, "context": number}, **common,
            )  # fmt: skip
            if after:
                after(stage)
            asked = range(count) if transfer else range(number + 1)
            matrix[number] = accuracies(classifier, contexts, number, asked, output)
            history += [{"context": number + 1, **row} for row in rows]
            history[-1]["accuracy"] = float(matrix[number, : number + 1].mean())
            old = frozen_copy(network)
    made = Fit.of(history, {"network": network})
    return LifelongFit(made.history, made.networks, None, matrix, untrained)


def learn(
    network: nn.Module,
    old: nn.Module | None,
    batches: Any,
    recipe: Recipe,
    terms: Terms,
    *,
    seed: int,
    about: Mapping[str, Any],
    rows: tuple[str, slice] | None = None,
    checkpoint: Path | None = None,
    output: Output = None,
    others: Mapping[str, nn.Module] | None = None,
) -> list[dict[str, float]]:
    """Train the network once, with the frozen previous one: `training.fit` with its names.

    Args:
        rows: the head's path and its rows, if only these are trained.
        others: more frozen networks, by name.
    """
    networks = {"network": network, **({"old": old} if old else {}), **(others or {})}
    with contextlib.ExitStack() as stack:
        put_back = stack.enter_context(rows_learning(network, *rows)) if rows else None

        def project() -> None:
            constrain(network)
            if put_back:
                put_back()

        return fit(
            networks, batches, Update(("network",), terms, after=project), recipe, seed=seed,
            checkpoint=checkpoint, identity={"method": dict(about)},
            answers=dict.fromkeys(networks, partial(logits_of, output=output)),
        )  # fmt: skip


def label_term(logits: Tensor, labels: Tensor, rivals: Tensor) -> Tensor:
    """Cross-entropy with the labels, each among the columns that compete with it.

    Args:
        rivals: from `Contexts.rivals`.
    """
    apart = ~rivals.to(labels.device)[labels]
    return hard_loss(logits.float().masked_fill(apart, -torch.inf), labels)


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy of the network, in eval mode and without gradients."""
    return twin_of(network).eval().requires_grad_(False)


def check_network(
    network: nn.Module, contexts: Contexts, recipe: Recipe, known: int = 0, output: Output = None
) -> None:
    """Require a trainable module, a logit for each column, and contexts that it can learn.

    All contexts are checked, so that no error appears after hours of training.
    """
    check_module("network", network)
    for number in range(known, len(contexts)):
        with named_context(number):
            batches = batches_for(contexts.train[number], recipe, 0)
            batch = first_batch(batches)
            logits = tried("network", network, batch, output)
            check_columns(contexts, number, batches, batch)
        if logits.ndim != 2 or logits.shape[1] != contexts.columns:
            raise ValueError(
                f"the contexts have {contexts.columns} columns in the scenario {contexts.scenario}, and "
                f"the network answers {tuple(logits.shape)}: give it as many logits."
            )
    check_finite_weights("the network", network)
    for number, examples in enumerate(contexts.test):
        with named_context(number, "test"):
            batches = plain_batches(examples, torch.device("cpu"))
            check_columns(contexts, number, batches, first_batch(batches))


def check_columns(contexts: Contexts, number: int, batches: Any, batch: Batch) -> None:
    """Require labels that are columns of their context, for all samples with known labels.

    Args:
        batch: the first one, whose labels are checked if the others are not known beforehand.
    """
    labels = getattr(getattr(batches, "images", batches), "labels", None)
    labels = labels if isinstance(labels, Tensor) else batch.labels
    if labels.is_floating_point() or labels.ndim != 1:
        raise ValueError(
            "labels must be numbers of columns, one for each sample; got "
            f"{labels.dtype} of shape {tuple(labels.shape)}."
        )
    own, least, most = contexts.own(number), int(labels.min()), int(labels.max())
    if least < own.start or most >= own.stop:
        raise ValueError(
            f"labels must be this context's own columns, {own.start} to {own.stop - 1}; got {least} to "
            f"{most}. Contexts share no class, but in the scenario domain."
        )


def accuracies(
    classifier: nn.Module,
    contexts: Contexts,
    after: int,
    numbers: Iterable[int],
    output: Output = None,
) -> Tensor:
    """Accuracy in percent on each context's test data after context `after`.

    Args:
        numbers: the contexts to evaluate.

    Returns:
        (contexts,) float64; NaN for the others, and for those that have no answer yet.
    """
    found = torch.full((len(contexts),), torch.nan, dtype=torch.float64)
    device = next((p.device for p in classifier.parameters()), torch.device("cpu"))
    with evaluating(classifier), torch.no_grad():
        for number in numbers:
            columns = contexts.asked(number, after)
            if columns is None:
                continue
            right = seen = 0
            for batch in plain_batches(contexts.test[number], device).epoch(0):
                logits = logits_of(ask(classifier, batch.images), output)[:, columns]
                named = logits.argmax(1) + columns.start
                right += int((named == batch.labels.to(device)).sum())
                seen += len(named)
            found[number] = 100 * right / seen
    return found


def plain_batches(examples: Any, device: torch.device) -> Any:
    """Batches in order and without augmentation."""
    if isinstance(examples, Images):
        return in_order(examples, examples.card, device)
    return as_batches(examples, 250, device, shuffle=False)


def beside(checkpoint: Path | str | None, ending: str) -> Path | None:
    """The checkpoint of a part of the run, in the same folder."""
    if checkpoint is None:
        return None
    return Path(checkpoint).with_name(f"{Path(checkpoint).name}-{ending}")
