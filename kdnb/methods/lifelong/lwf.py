"""Learning without forgetting (Li and Hoiem): new images, and what the old network answers to them."""

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
    r"""Learn contexts one after the other, and keep on their images what the network answered before.

    .. math:: L = L_{new}(y, z) + \lambda \sum_{j < k} L_{old}(v_j, z_j)

    in context k, with :func:`kdnb.losses.learning_without_forgetting` between the answers v of the
    network before it and z of the one that learns, both to images of context k. No image of an
    earlier context is looked at. What z_j holds depends on the scenario:

    - "task": the columns of context j, one term for each earlier context;
    - "domain": all columns, one term;
    - "class": the columns of all earlier contexts, one term, see `new_classes`.

    Args:
        network: a logit for each column; trained in place.
        contexts: see `Contexts`.
        weight: lambda, 1 in the paper; 0 is fine-tuning.
        temperature: T, 2 in the paper.
        weighting: "paper" as above. "contexts" weighs 1/k for the labels and weight (1 - 1/k) for
            the mean of the old terms, as van de Ven and Tolias (2018) do.
        new_classes: in the scenario "class", "zero" gives new classes the probability 0 in the old
            answers, so that the softmax runs over all classes; "free" leaves them out.
        warm_up: epochs before each later context in which only the head's new rows learn, as in
            the paper's first step.
        shuffled: a control: each image gets the old answers to another image of its context. The
            pairs are drawn once a context. Needs `Images`, or other data that is never augmented.
        known: how many contexts the network has learnt already, such as 1 for a trained network
            that learns on. Their training data are not read, and may be None.
        transfer, seed, checkpoint, output: of `in_sequence`.
        recipe, fields: of every context, as in `kdnb.distil`.

    Returns:
        The history, with the terms `hard` and `kept`; the network, `fit.networks["network"]`; and
        the accuracy matrix, `fit.accuracy`.

    Raises:
        ValueError: for an option out of its range, or as `in_sequence`.

    Departures: recalled, but for the protocol of van de Ven and Tolias, whose paper and code were
    read. The paper adds a head when a task comes; here all columns are there from the beginning,
    and those of later contexts are neither trained nor asked. Of images that never change the old
    network is asked once.
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
    """How the network before is asked: once for images that never change, else in every step.

    Raises:
        ValueError: where answers are to be shuffled of images that may look different each time.
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
