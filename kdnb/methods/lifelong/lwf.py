"""Learning without forgetting (Li and Hoiem): keep the old network's answers to new images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch, Batches
from kdnb.losses import learning_without_forgetting
from kdnb.losses.checks import check_choice, check_flags, check_number
from kdnb.methods.lifelong.contexts import Contexts
from kdnb.methods.lifelong.sequence import LifelongFit, Stage, Terms, in_sequence, label_term
from kdnb.methods.options import recipe_of
from kdnb.training import Networks, Recipe
from kdnb.training.answers import Output
from kdnb.training.teacher import teacher_logits

Weighting = Literal["paper", "contexts"]
NewClasses = Literal["zero", "free"]


def lwf(
    network: nn.Module,
    contexts: Contexts,
    recipe: Recipe | None = None,
    *,
    weight: float = 1.0,
    temperature: float = 2.0,
    weighting: Weighting = "paper",
    new_classes: NewClasses = "zero",
    warm_up: int = 0,
    shuffled: bool = False,
    known: int = 0,
    transfer: bool = False,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    output: Output = None,
    **fields: Any,
) -> LifelongFit:
    r"""LwF (Li and Hoiem): learn contexts in turn, keeping the old network's answers to new images.

    .. math:: L = L_{new}(y, z) + \lambda \sum_{j < k} L_{old}(v_j, z_j)

    in context k, with :func:`kdnb.losses.learning_without_forgetting` between the answers v of the
    previous network and z of the learning one, both to images of context k. No image of an earlier
    context is used. The columns in z_j depend on the scenario:

    - "task": the columns of context j, one term for each earlier context;
    - "domain": all columns, one term;
    - "class": the columns of all earlier contexts, one term, see `new_classes`.

    Args:
        network: a logit for each column; trained in place.
        contexts: see `Contexts`.
        weight: lambda, 1 in the paper; 0 is fine-tuning.
        temperature: T, 2 in the paper.
        weighting: "paper" as above. "contexts" uses the weight 1/k for the labels and weight (1 -
            1/k) for the mean of the old terms, as van de Ven and Tolias (2018) do.
        new_classes: in the scenario "class", "zero" gives new classes probability 0 in the old
            answers, so that the softmax runs over all classes; "free" leaves them out.
        warm_up: epochs before each later context in which only the head's new rows learn, as in
            the paper's first step.
        shuffled: a control: each image gets the old answers to another image of its context. The
            pairs are drawn once per context. This needs `Images`, or other data that is never
            augmented.
        known: the number of contexts already learnt, such as 1 for a trained network. Their
            training data are not read, and may be None.
        transfer, seed, checkpoint, output: as in `in_sequence`.
        recipe, fields: of every context, as in `kdnb.distil`.

    Returns:
        The history, with the terms `hard` and `kept`; the network, `fit.networks["network"]`; and
        the accuracy matrix, `fit.accuracy`.

    Raises:
        ValueError: for an option out of its range, or as `in_sequence`.

    Departures: recalled, except for the protocol of van de Ven and Tolias, whose paper and code
    were read. The paper adds a head when a task arrives; here all columns exist from the start, and
    those of later contexts are neither trained nor evaluated. For images that never change, the old
    network is evaluated once.
    """
    recipe = recipe_of(lwf, recipe, fields)
    check_number(least=0, weight=weight)
    check_number(above=0, temperature=temperature)
    check_choice(get_args(Weighting), weighting=weighting)
    check_choice(get_args(NewClasses), new_classes=new_classes)
    check_flags(shuffled=shuffled)

    def plan(stage: Stage) -> Terms:
        number, rivals = stage.number, contexts.rivals(stage.number)
        share = 1 / (number + 1) if weighting == "contexts" else 1.0
        ask_old = old_answers(stage, output, seed if shuffled else None)

        def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
            logits = networks["network"](batch.images)
            found = {"hard": share * label_term(logits, batch.labels, rivals)}
            if stage.old is not None and weight:
                kept = kept_terms(
                    contexts, number, logits, ask_old(networks, batch), temperature, new_classes
                )
                if weighting == "contexts":
                    found["kept"] = weight * (1 - share) * sum(kept) / len(kept)
                else:
                    found["kept"] = weight * sum(kept)
            return found

        return terms

    about = {"verb": "lwf", "weight": weight, "temperature": temperature, "weighting": weighting,
             "new_classes": new_classes, "shuffled": shuffled}  # fmt: skip
    return in_sequence(
        network, contexts, recipe, plan, about=about, seed=seed, checkpoint=checkpoint,
        warm_up=warm_up, known=known, transfer=transfer, output=output, given=fields,
    )  # fmt: skip


def kept_terms(
    contexts: Contexts,
    number: int,
    logits: Tensor,
    old_logits: Tensor,
    temperature: float,
    new_classes: NewClasses = "zero",
) -> list[Tensor]:
    """The losses on earlier contexts' outputs while context `number` is learnt."""
    if contexts.scenario == "task":
        groups = [contexts.own(earlier) for earlier in range(number)]
    elif contexts.scenario == "domain":
        groups = [contexts.own(number)]
    else:
        groups = [contexts.seen(number - 1)]
    if contexts.scenario == "class" and new_classes == "zero":
        new = contexts.sizes[number]
        padded = F.pad(old_logits[:, groups[0]], (0, new), value=-torch.inf)
        now = logits[:, contexts.seen(number)]
        return [learning_without_forgetting(now, padded, temperature)]
    return [
        learning_without_forgetting(logits[:, group], old_logits[:, group], temperature)
        for group in groups
    ]


def old_answers(
    stage: Stage, output: Output = None, shuffle_seed: int | None = None
) -> Callable[[Networks, Batch], Tensor]:
    """A function for the previous network's answers: once for fixed images, else in every step.

    Raises:
        ValueError: if answers should be shuffled for images that may change.
    """
    fixed = isinstance(stage.batches, Batches) and not stage.batches.augmented
    if stage.old is None or not fixed:
        if stage.old is not None and shuffle_seed is not None:
            raise ValueError("shuffled answers need Images without augmentation.")
        return torch.no_grad()(lambda networks, batch: networks["old"](batch.images).float())
    stored = teacher_logits(stage.old, stage.batches, output)
    if shuffle_seed is not None:
        generator = torch.Generator().manual_seed(shuffle_seed)
        stored = stored[torch.randperm(len(stored), generator=generator)]
    return lambda networks, batch: stored[batch.index]
