"""Distillation from internal representations (Aguilar et al. 2020): layers first, then answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.attention.heads import (
    AttentionLayer,
    attention_layers,
    heads_in,
    present_in,
    watched,
)
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.inputs import batches_for

Stages = Literal["progressive", "stacked", "together"]


def active_layers(stages: Stages, epoch: int, epochs_each: int, layers: int) -> list[int]:
    """The indices of the student's layers taught in an epoch; none once only answers are left.

    "progressive" teaches one layer after another; "stacked" also keeps teaching the earlier ones;
    "together" teaches all layers in every epoch, along with the answers.

    >>> [active_layers("progressive", epoch, 2, 2) for epoch in range(5)]
    [[0], [0], [1], [1], []]
    >>> [active_layers("stacked", epoch, 2, 2) for epoch in range(5)]
    [[0], [0], [0, 1], [0, 1], []]
    """
    check_choice(("progressive", "stacked", "together"), stages=stages)
    if stages == "together":
        return list(range(layers))
    stage = epoch // epochs_each
    if stage >= layers:
        return []
    return [stage] if stages == "progressive" else list(range(stage + 1))


def distil_internal(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    stages: Stages = "progressive",
    epochs_each: int = 1,
    layers: Sequence[int] | None = None,
    cosine_weight: float = 1.0,
    label_weight: float = 1.0,
    soft_weight: float = 1.0,
    temperature: float = 1.0,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Teach a transformer's layers by `kdnb.losses.internal_representation`, then its answers.

    With "progressive" and "stacked", each layer has `epochs_each` epochs of the recipe, and the
    rest is for labels and soft targets. With "together" everything is learnt at once in all epochs.

    Args:
        student, teacher: classifiers of tokens with self-attention, of the same width and number of
            heads.
        data: tokens with labels, as in `kdnb.distil`.
        stages, epochs_each: which layers are taught when, see `active_layers`.
        layers: the teacher's layer for each of the student's; at equal distances if None
            (:func:`kdnb.losses.uniform_layers`).
        cosine_weight: weight of the first token's state in the loss of a layer.
        label_weight, soft_weight, temperature: for the answers.
        recipe, seed, checkpoint, fields: as in `kdnb.distil`.

    Raises:
        ValueError: if the recipe leaves no epoch for answers, for layers that the teacher does not
            have, or as `kdnb.distil`.

    Departures: recalled, except for the losses and the three ways of going through the layers. In
    the paper, training also moves to the next layer when the loss falls below a threshold.
    """
    recipe = recipe_of(distil_internal, recipe, fields)
    check_choice(("progressive", "stacked", "together"), stages=stages)
    check_number(least=1, whole=True, epochs_each=epochs_each)
    check_number(least=0, label_weight=label_weight, soft_weight=soft_weight)
    ours, theirs = attention_layers(student), attention_layers(teacher)
    places = losses.uniform_layers(len(ours), len(theirs)) if layers is None else list(layers)
    if len(places) != len(ours):
        raise ValueError(
            f"layers must name one for each of the student's {len(ours)}; got {places}."
        )
    if not set(places) <= set(range(len(theirs))):
        raise ValueError(f"layers must lie in 0 to {len(theirs) - 1}, the teacher's; got {places}.")
    if stages != "together" and recipe.epochs <= epochs_each * len(ours):
        raise ValueError(
            f"{recipe.epochs} epochs leave none for answers: {len(ours)} layers take {epochs_each} each."
        )
    batches = batches_for(data, recipe, seed, given=fields)
    now: list[int] = []

    def begin(epoch: int) -> None:
        now[:] = active_layers(stages, epoch, epochs_each, len(ours))

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        mine, aims = [ours[n] for n in now], [theirs[places[n]] for n in now]
        with watched(student, mine) as seen:
            said = networks["student"](batch.images)
            shown = [_looked(seen, layer) for layer in mine]
        with torch.no_grad(), watched(teacher, aims) as seen:
            aim = networks["teacher"](batch.images)
            wanted = [_looked(seen, layer) for layer in aims]
        found = {
            "internal": said.new_zeros(()),
            "hard": said.new_zeros(()),
            "soft": said.new_zeros(()),
        }
        present = present_in(batch.images)
        for (scores, states), (aim_scores, aim_states) in zip(shown, wanted, strict=True):
            there = None if present is None else present[:, : states.shape[1]]
            found["internal"] = found["internal"] + losses.internal_representation(
                scores, aim_scores, states, aim_states, there, cosine_weight
            )
        if not now or stages == "together":
            found["hard"] = label_weight * losses.hard_loss(said, batch.labels)
            found["soft"] = soft_weight * losses.soft_targets(said, aim, temperature)
        return found

    settings = {
        "verb": "distil_internal", "stages": stages, "epochs_each": epochs_each, "layers": places,
        "cosine_weight": cosine_weight, "answers": [label_weight, soft_weight, temperature],
    }  # fmt: skip
    history = fit(
        {"student": student, "teacher": teacher}, batches, Update(("student",), terms, begin=begin), recipe,
        seed=seed, checkpoint=checkpoint, identity={"method": settings},
    )  # fmt: skip
    return Fit.of(history, {"student": student})


def _looked(seen: Any, layer: AttentionLayer) -> tuple[Tensor, Tensor]:
    """Scores and states of a layer."""
    heads = heads_in(seen, layer)
    return losses.attention_scores(heads.queries, heads.keys), seen[layer.block]
