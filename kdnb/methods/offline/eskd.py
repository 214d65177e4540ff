"""Early-stopped distillation (Cho and Hariharan 2019): labels alone after some epochs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss
from kdnb.methods.offline.distil import Loss
from kdnb.methods.offline.rco import History
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for
from kdnb.training.teacher import asked


def distil_then_labels(
    student: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    loss: Loss,
    stop_epoch: int,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> History:
    r"""Early-stopped distillation (Cho 2019): train without the teacher after some epochs.

    .. math:: L = w_s L_{soft} + w_h\, H(y, q) \text{ for the first } e \text{ epochs, then }
        L = H(y, q)

    Their other half, the early-stopped teacher, needs no function: train one with a recipe of fewer
    epochs, whose learning rate falls equally far, or take an earlier point of `record_route`.

    Args:
        student, teacher, examples, recipe, loss, soft_weight, hard_weight: as in
            :func:`kdnb.methods.offline.distil.distil`; the weights apply until the stop.
        stop_epoch: e, the number of epochs with the teacher: 0 is training on labels alone,
            `recipe.epochs` plain distillation.
        options: passed to `training.fit`.

    Returns:
        The history; `soft` is 0 after the stop.

    Raises:
        ValueError: if `stop_epoch` is outside the run.

    Departures: only a summary of the method confirms that just the cross-entropy is left after the
    stop. Its weight of 1 there, regardless of `hard_weight`, is our reading.
    """
    if not 0 <= stop_epoch <= recipe.epochs:
        raise ValueError(
            f"stop_epoch must lie within 0 and the run's {recipe.epochs} epochs; got {stop_epoch}."
        )
    batches = batches_for(examples, recipe, seed)
    teaching = True

    def begin(epoch: int) -> None:
        nonlocal teaching
        teaching = epoch < stop_epoch

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        logits = networks["student"](batch.images)
        hard = hard_loss(logits, batch.labels)
        if not teaching:
            return {"soft": torch.zeros_like(hard), "hard": hard}
        soft = loss(logits, taught(networks, batch))
        return {"soft": soft_weight * soft, "hard": hard_weight * hard}

    update = Update(("student",), terms, after=lambda: constrain(student), begin=begin)
    networks = {"student": student, "teacher": teacher}
    with asked(teacher, batches, recipe) as taught:
        return fit(networks, batches, update, recipe, seed=seed, **options)
