"""Replay, and two bounds: fine-tuning from below, joint training from above."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.lifelong.contexts import Contexts, gathered, together
from kdnb.methods.lifelong.exemplars import Exemplars, at_random, check_stored
from kdnb.methods.lifelong.lwf import kept_terms
from kdnb.methods.lifelong.sequence import (
    LifelongFit,
    Stage,
    Terms,
    check_network,
    in_sequence,
    label_term,
)
from kdnb.methods.options import recipe_of
from kdnb.training import Networks, Recipe
from kdnb.training.answers import Output
from kdnb.training.randomness import mix

Body = Literal["trained", "frozen"]
Targets = Literal["hard", "soft"]


def fine_tune(
    network: nn.Module,
    contexts: Contexts,
    recipe: Recipe | None = None,
    *,
    body: Body = "trained",
    known: int = 0,
    transfer: bool = False,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    output: Output = None,
    **fields: Any,
) -> LifelongFit:
    """Learn contexts in turn without preventing forgetting: the lower bound.

    Args:
        network: a logit for each column; trained in place.
        body: "frozen" keeps the features learnt in the first context; later contexts train only
            their own rows of the head, as "feature extraction" of Li and Hoiem does. Not for the
            scenario "domain", whose contexts share all rows.
        contexts, known, transfer, recipe, seed, checkpoint, output, fields: as in `lwf`.

    Returns:
        The history, with the term `hard`; the network; the accuracy matrix.

    Raises:
        ValueError: as `in_sequence`.
    """
    recipe = recipe_of(fine_tune, recipe, fields)
    check_choice(get_args(Body), body=body)
    return in_sequence(
        network, contexts, recipe, lambda stage: _labels_alone(contexts, stage),
        about={"verb": "fine_tune", "body": body}, seed=seed, checkpoint=checkpoint,
        body=body == "trained", known=known, transfer=transfer, output=output, given=fields,
    )  # fmt: skip


def train_jointly(
    network: nn.Module,
    contexts: Contexts,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    output: Output = None,
    **fields: Any,
) -> LifelongFit:
    """Learn all contexts at once: the upper bound.

    With the same recipe as the other functions, it takes as many steps as they take in all contexts
    together.

    Returns:
        As `fine_tune`, but only the last row of the accuracy matrix is filled.
    """
    recipe = recipe_of(train_jointly, recipe, fields)
    check_network(network, contexts, recipe, output=output)
    check_stored(contexts)
    everything = together(contexts.train)
    return in_sequence(
        network, contexts, recipe, lambda stage: _labels_alone(contexts, stage),
        about={"verb": "train_jointly"}, seed=seed, checkpoint=checkpoint,
        data=lambda number: everything, stages=[len(contexts) - 1], output=output, given=fields,
    )  # fmt: skip


def _labels_alone(contexts: Contexts, stage: Stage) -> Terms:
    rivals = contexts.rivals(stage.number)
    return lambda networks, batch: {
        "hard": label_term(networks["network"](batch.images), batch.labels, rivals)
    }


def replay(
    network: nn.Module,
    contexts: Contexts,
    recipe: Recipe | None = None,
    *,
    memory: int = 2000,
    targets: Targets = "hard",
    temperature: float = 2.0,
    transfer: bool = False,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    output: Output = None,
    **fields: Any,
) -> LifelongFit:
    r"""Learn contexts in turn, adding stored examples of earlier ones to each batch.

    .. math:: L = \frac1k L(y, z) + \Big(1 - \frac1k\Big) L_{\text{stored}}

    in context k. Each step draws as many stored examples as the batch has.

    Args:
        network: a logit for each column; trained in place.
        memory: the total number of stored examples. After each context they are divided evenly
            among the classes seen so far and drawn at random.
        targets: "hard", the stored labels; "soft", the previous network's answers to the stored
            inputs, by the losses of `lwf`: distillation on known examples.
        temperature: temperature of soft targets.
        contexts, transfer, recipe, seed, checkpoint, output, fields: as in `lwf`.

    Returns:
        The history, with the terms `hard` and `replayed`; the network; the accuracy matrix.

    Raises:
        TypeError: for inputs that are not a single tensor.
        ValueError: for a memory smaller than the number of classes, or as `in_sequence`.

    Departures: the weights are those of van de Ven and Tolias (2018), who replay generated images;
    random stored images are the simplest replay (Chaudhry et al. 2019, recalled).
    """
    recipe = recipe_of(replay, recipe, fields)
    check_stored(contexts, memory)
    check_number(above=0, temperature=temperature)
    check_choice(get_args(Targets), targets=targets)
    stored = Exemplars(memory)

    def plan(stage: Stage) -> Terms:
        rivals, share = contexts.rivals(stage.number), 1 / (stage.number + 1)
        inputs, labels = stored.all()

        def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
            logits = networks["network"](batch.images)
            found = {"hard": share * label_term(logits, batch.labels, rivals)}
            if stage.old is None:
                return found
            drawn = torch.randint(len(inputs), (batch.size,))
            again = inputs[drawn].to(batch.device)
            ours = networks["network"](again)
            if targets == "hard":
                value = label_term(ours, labels[drawn].to(batch.device), rivals)
            else:
                with torch.no_grad():
                    theirs = networks["old"](again)
                kept = kept_terms(contexts, stage.number, ours, theirs, temperature)
                value = sum(kept) / len(kept)
            return {**found, "replayed": (1 - share) * value}

        return terms

    def keep(stage: Stage) -> None:
        inputs, labels = gathered(contexts.train[stage.number])
        stored.add(stage.number, inputs, labels, at_random(mix(seed, stage.number, 2)))

    about: Mapping[str, Any] = {
        "verb": "replay", "memory": memory, "targets": targets, "temperature": temperature,
    }  # fmt: skip
    return in_sequence(
        network, contexts, recipe, plan, about=about, after=keep, seed=seed,
        checkpoint=checkpoint, transfer=transfer, output=output, given=fields,
    )  # fmt: skip
