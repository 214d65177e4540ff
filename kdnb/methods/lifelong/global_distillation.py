"""Global distillation (Lee et al. 2019): learn new classes with unlabelled images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.data import Batch, Images, as_batches
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.lifelong.contexts import Contexts, gathered
from kdnb.methods.lifelong.exemplars import Exemplars, at_random, check_stored
from kdnb.methods.lifelong.heads import head_of
from kdnb.methods.lifelong.sequence import (
    LifelongFit,
    Stage,
    Terms,
    beside,
    frozen_copy,
    in_sequence,
    label_term,
    learn,
)
from kdnb.methods.options import recipe_of
from kdnb.training import Networks, Recipe
from kdnb.training.answers import Output, ask, logits_of
from kdnb.training.borrowed import evaluating
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.randomness import mix

References = Literal["P", "PC", "PCQ"]


def global_distillation(
    network: nn.Module,
    contexts: Contexts,
    external: Any,
    recipe: Recipe | None = None,
    *,
    references: References = "PCQ",
    memory: int = 2000,
    temperature: float = 2.0,
    joined_temperature: float = 1.0,
    confidence_weight: float = 1.0,
    outside: float = 0.7,
    balance_epochs: int = 1,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    output: Output = None,
    **fields: Any,
) -> LifelongFit:
    r"""Learn classes incrementally with few stored examples and unlabelled images (Lee 2019).

    In each context after the first there are three steps:

    1. *Sampling.* As many unlabelled images as there are labelled ones: those on which the previous
       network, P, is most confident, for each of its classes, and others at random.
    2. *A teacher of the new classes*, C: a copy of P that learns only the new context, and is kept
       uncertain about unlabelled and stored images by :func:`kdnb.losses.confidence_penalty`.
    3. *The new network* learns labels and, on labelled and unlabelled images, the answers of P and
       C (:func:`kdnb.losses.separate_distillation`); on unlabelled images also their joined answer
       Q (:func:`kdnb.losses.joined_distillation`). Finally, only the head is trained, with equal
       weight for all classes.

    Args:
        network: a logit for each column, by a last linear layer; trained in place.
        contexts: of the scenario "class".
        external: unlabelled data: `Images` or a Dataset, whose labels are not read, or inputs.
        references: the teachers: "P", the previous network, on old classes; "PC", also C; "PCQ",
            all.
        memory: the total number of stored labelled examples, drawn at random.
        temperature: temperature of P and C; `joined_temperature` of Q.
        confidence_weight: weight of the penalty in steps 1 and 2.
        outside: the share of unlabelled images that is drawn at random, 0.7 in the authors' code.
        balance_epochs: of the last part of step 3, at a tenth of the learning rate; 0 leaves it
            out.
        recipe, seed, checkpoint, output, fields: as in `lwf`.

    Returns:
        The history of step 3, with the terms `hard`, `separate` and `joined`; the network; the
        accuracy matrix.

    Raises:
        TypeError: for inputs that are not a single tensor.
        ValueError: for a wrong scenario, a memory smaller than the number of classes, or as
            `in_sequence`.

    Departures: the authors' code (kibok90/iccv2019-inc) was read; the paper is recalled. In that
    code, images with and without labels share a batch; here each batch of labelled images comes
    with as many unlabelled ones. In the last part the code also weights distillation by class; here
    only the labels are weighted.
    """
    recipe = recipe_of(global_distillation, recipe, fields)
    check_choice(get_args(References), references=references)
    check_number(above=0, temperature=temperature, joined_temperature=joined_temperature)
    check_number(least=0, confidence_weight=confidence_weight)
    check_number(least=0, most=1, outside=outside)
    check_number(least=0, whole=True, balance_epochs=balance_epochs)
    if contexts.scenario != "class":
        raise ValueError(
            "global_distillation learns classes: its contexts must be "
            f'"class", not "{contexts.scenario}".'
        )
    check_stored(contexts, memory)
    head, stored, wild = head_of(network, contexts.columns), Exemplars(memory), _inputs(external)
    _check_external(wild, contexts, recipe)
    about = {
        "verb": "global_distillation", "references": references, "memory": memory,
        "temperature": temperature, "joined_temperature": joined_temperature,
        "confidence_weight": confidence_weight, "outside": outside,
    }  # fmt: skip
    terms_of: dict[int, Callable[..., Terms]] = {}

    def plan(stage: Stage) -> Terms:
        number, rivals = stage.number, contexts.rivals(stage.number)
        count = len(stage.batches.labels)
        if stage.old is None:
            some = wild[_drawn(len(wild), count, mix(seed, 0, 3))]
            return _sure_of_labels_alone(contexts, 0, some, confidence_weight)
        known = contexts.seen(number - 1)
        sample = sampled(stage.old, wild, known, count, outside, mix(seed, number, 3), output)
        labelled = stage.batches.inputs
        p = [_answers(stage.old, part, known, output) for part in (labelled, sample)]
        c = None
        if references != "P":
            teacher = frozen_copy(network).requires_grad_(True)
            unsure = torch.cat([sample, stored.all()[0]])
            learn(
                teacher, None, batches_for(gathered(contexts.train[number]), recipe, mix(seed, number)),
                recipe, _sure_of_labels_alone(contexts, number, unsure, confidence_weight),
                seed=mix(seed, number, 4), about={**about, "context": number, "teacher": True},
                checkpoint=beside(checkpoint, f"{number + 1}-teacher"), output=output,
            )  # fmt: skip
            own = contexts.own(number)
            c = [_answers(teacher, part, own, output) for part in (labelled, sample)]

        def with_weights(weights: Tensor | None = None) -> Terms:
            def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
                drawn = torch.randint(len(sample), (batch.size,))
                both = torch.cat([batch.images, sample[drawn].to(batch.device)])
                z = networks["network"](both)[:, contexts.seen(number)]
                old = torch.cat([p[0][batch.index.cpu()], p[1][drawn]]).to(z.device)
                ours, size = z[: batch.size], batch.size
                if weights is None:
                    hard = label_term(ours, batch.labels, rivals[:, contexts.seen(number)])
                else:
                    each = F.cross_entropy(ours.float(), batch.labels, reduction="none")
                    hard = (weights.to(z.device)[batch.labels] * each).mean()
                if c is None:
                    return {"hard": hard,
                            "separate": losses.soft_targets(z[:, known], old, temperature)}  # fmt: skip
                new = torch.cat([c[0][batch.index.cpu()], c[1][drawn]]).to(z.device)
                apart = losses.separate_distillation(z, old, new, temperature)
                if references == "PC":
                    return {"hard": hard, "separate": apart}
                joined = losses.joined_distillation(
                    z[size:], old[size:], new[size:], joined_temperature
                )
                return {"hard": hard / 2, "separate": apart, "joined": joined / 2}

            return terms

        terms_of[number] = with_weights
        return with_weights()

    def balance(stage: Stage) -> None:
        if stage.old is not None and balance_epochs:
            counts = stage.batches.labels.bincount(minlength=contexts.seen(stage.number).stop)
            weights = counts.sum() / (counts * len(counts))
            gentle = {"epochs": balance_epochs, "lr": recipe.lr / 10}
            learn(
                network, stage.old, stage.batches, recipe.model_copy(update=gentle),
                terms_of[stage.number](weights), rows=(head, contexts.seen(stage.number)),
                seed=mix(seed, stage.number, 5), output=output,
                about={**about, "context": stage.number, "balance": True},
                checkpoint=beside(checkpoint, f"{stage.number + 1}-balance"),
            )  # fmt: skip
        inputs, labels = gathered(contexts.train[stage.number])
        stored.add(stage.number, inputs, labels, at_random(mix(seed, stage.number, 2)))

    return in_sequence(
        network, contexts, recipe, plan, about=about, after=balance, seed=seed,
        data=lambda number: stored.beside(*gathered(contexts.train[number])),
        checkpoint=checkpoint, output=output, given=fields,
    )  # fmt: skip


def sampled(
    old: nn.Module,
    wild: Tensor,
    known: slice,
    count: int,
    outside: float,
    seed: int,
    output: Output = None,
) -> Tensor:
    """Unlabelled inputs: for each old class those with the largest logits, and others at random.

    Args:
        old: the previous network.
        wild: (N, ...), all unlabelled inputs.
        known: its columns.
        count: the number to draw; fewer if several classes choose the same inputs.
        outside: the share drawn at random.
    """
    count = min(count, len(wild))
    others = _drawn(len(wild), round(count * outside), seed)
    logits = _answers(old, wild, known, output)
    each = (count - len(others)) // logits.shape[1]
    taken = torch.zeros(len(wild), dtype=torch.bool)
    taken[others] = True
    taken[logits.topk(min(each, len(wild)), dim=0).indices.flatten()] = True
    return wild[taken]


def _sure_of_labels_alone(
    contexts: Contexts, number: int, unsure: Tensor, confidence_weight: float
) -> Terms:
    """A loss of labels on a context's own columns, with no confidence there about other inputs."""
    own = contexts.own(number)

    def terms(networks: Networks, batch: Batch) -> dict[str, Tensor]:
        drawn = unsure[torch.randint(len(unsure), (batch.size,))].to(batch.device)
        both = networks["network"](torch.cat([batch.images, drawn]))[:, own]
        z, other = both[: batch.size], both[batch.size :]
        return {
            "hard": losses.hard_loss(z, batch.labels - own.start),
            "confidence": confidence_weight * losses.confidence_penalty(other),
        }

    return terms


@torch.no_grad()
def _answers(network: nn.Module, inputs: Tensor, columns: slice, output: Output) -> Tensor:
    """Logits of some columns for all inputs, on the CPU."""
    device = next(network.parameters()).device
    with evaluating(network):
        found = [logits_of(ask(network, part.to(device)), output) for part in inputs.split(500)]
    return torch.cat(found)[:, columns].float().cpu()


def _drawn(total: int, count: int, seed: int) -> Tensor:
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]


def _check_external(wild: Tensor, contexts: Contexts, recipe: Recipe) -> None:
    """Require unlabelled inputs that can share a batch with the labelled ones."""
    wanted = first_batch(batches_for(contexts.train[0], recipe, 0)).images
    if not len(wild):
        raise ValueError("external holds no input.")
    if wild.shape[1:] != wanted.shape[1:] or wild.dtype != wanted.dtype:
        raise ValueError(
            f"external inputs must be like the contexts' own, {_kind(wanted)}; got {_kind(wild)}."
        )


def _kind(inputs: Tensor) -> str:
    return f"{str(inputs.dtype)[6:]} of shape {tuple(inputs.shape[1:])}"


def _inputs(external: Any) -> Tensor:
    """Unlabelled data as one tensor."""
    if isinstance(external, Images):
        return gathered(external)[0]
    if isinstance(external, Tensor):
        found = [external]
    else:
        batches = as_batches(external, 250, labels="none", shuffle=False)
        found = [batch.images for batch in batches.epoch(0)]
    if not found or not all(isinstance(part, Tensor) and part.ndim for part in found):
        raise ValueError("external must be Images, a Dataset, or a tensor of inputs (N, ...).")
    return torch.cat(found)
