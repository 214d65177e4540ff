"""Snapshot distillation (Yang 2019): one training run, whose earlier cycle teaches the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, transformed_teacher
from kdnb.methods.self_distillation.common import History, LaterBatches, fit_one
from kdnb.training import Recipe
from kdnb.training.borrowed import twin_of
from kdnb.training.checkpoint import file_of
from kdnb.training.inputs import batches_for


def snapshot_distil(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    cycles: int = 2,
    teacher_temperature: float = 2.0,
    soft_weight: float = 1.0,
    hard_weight: float = 1.0,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **options: Any,
) -> History:
    r"""Snapshot distillation (Yang 2019): the last weights of each cycle teach the next cycle.

    .. math:: L = w_h\, H(y, q) + w_s\, \mathrm{KL}(p_{T} \| q)

    with the snapshot's softened p and the network's own q, not softened: the paper's asymmetric
    distillation (:func:`kdnb.losses.transformed_teacher`, unweighted). The first cycle learns from
    labels alone. The learning rate restarts in each cycle, so that the network moves away from its
    teacher; use the schedule "cosine".

    Args:
        network: trained in place.
        recipe: for the whole run; its epochs are divided evenly among the cycles.
        cycles: the paper's mini-generations.
        teacher_temperature: temperature of the snapshot's answers alone.
        checkpoint: a file; cycle c writes its own file in the same folder, with its number in the
            name.
        options: passed to `training.fit`.

    Returns:
        The history of all cycles, one dict per epoch, with `cycle` from 0 and `teacher_age`, the
        epochs since the snapshot was taken; 0 where there is none.

    Raises:
        ValueError: for fewer than 2 cycles, or epochs that are not a multiple of them.

    Departures: the optimiser's momentum starts at 0 in every cycle. The paper's weights depend on
    the temperature; its T = 2 and its weights are recalled.
    """
    if cycles < 2:
        raise ValueError(f"a snapshot can teach from the second cycle on: got cycles={cycles}.")
    if recipe.epochs % cycles:
        raise ValueError(
            f"{recipe.epochs} epochs cannot be shared out evenly over {cycles} cycles."
        )
    length = recipe.epochs // cycles
    part = recipe.model_copy(update={"epochs": length})
    batches = batches_for(examples, recipe, seed)
    history: History = []
    teacher: nn.Module | None = None
    for cycle in range(cycles):
        rows = fit_one(
            network, LaterBatches(batches, cycle * length), part, _terms(
                teacher is not None, teacher_temperature, soft_weight, hard_weight
            ),
            seed=seed + cycle,
            checkpoint=file_of(checkpoint, cycle),
            frozen={"teacher": teacher} if teacher else None,
            **options,
        )  # fmt: skip
        for number, row in enumerate(rows, 1):
            age = number if teacher else 0
            epoch = cycle * length + number
            history.append({**row, "epoch": epoch, "cycle": cycle, "teacher_age": age})
        teacher = twin_of(network)
    return history


def _terms(taught: bool, temperature: float, soft_weight: float, hard_weight: float):
    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        parts = {"hard": hard_weight * hard_loss(logits, batch.labels)}
        if taught:
            with torch.no_grad():
                answer = networks["teacher"](batch.images)
            soft = transformed_teacher(logits, answer, temperature, weighted=False)
            parts["soft"] = soft_weight * soft
        return parts

    return terms
