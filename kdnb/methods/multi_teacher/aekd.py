"""AE-KD (Du et al. 2020): the teachers' weights change with every batch, by their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import check_flags, check_number, check_temperature
from kdnb.methods.multi_teacher.common import check_teachers, check_weights_of_terms, learn
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Recipe
from kdnb.training.inputs import batches_for


def aekd(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    largest: float = 0.6,
    normalise: bool = False,
    temperature: float = 4.0,
    soft_weight: float = 0.9,
    label_weight: float = 1.0,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Adaptive ensemble distillation in gradient space (Du et al. 2020).

    .. math:: L = w_h H(y, q) + w_s T^2 \sum_k \alpha_k \mathrm{KL}(p_k \,\|\, q)

    with the weights alpha of :func:`kdnb.losses.adaptive_weights`, solved for anew on every batch:
    the shortest combination of the teachers' gradients in which none has more than C.

    Args:
        student: trained in place.
        teachers: frozen, at least one.
        data, recipe, seed, checkpoint, fields: as in `kdnb.distil`.
        largest: C. At or below 1/K this is the mean teacher; 1 is the plain min-norm point.
        normalise: compare directions alone, an option of the authors' code.
        temperature: T of all.
        soft_weight, label_weight: w_s and w_h, the authors' 0.9 and 1.

    Returns:
        The history, with `soft`, `hard` and each teacher's mean alpha as `weight1`, `weight2`, ...,
        which are measured and carry no gradient; and the network "student".

    Raises:
        ValueError: for no teacher, a student that is its own teacher, or as `kdnb.distil`.

    Departures: those of the loss. The authors' form with hints, whose gradients are compared in the
    student's feature, is left out.
    """
    recipe = recipe_of(aekd, recipe, fields)
    found = check_teachers("aekd", student, teachers)
    check_number(above=0, most=1, largest=largest)
    check_flags(normalise=normalise)
    check_temperature(temperature)
    check_weights_of_terms(soft_weight=soft_weight, label_weight=label_weight)

    def terms(batch: Batch, ours: Tensor, theirs: list[Tensor]) -> dict[str, Tensor]:
        given = ours, theirs, temperature, largest, normalise
        weights = losses.adaptive_weights(*given)
        shown = {f"weight{k}": weight for k, weight in enumerate(weights, 1)}
        return {"soft": soft_weight * losses.adaptive_ensemble(*given), **shown}

    return learn(
        student, found, batches_for(data, recipe, seed, "any", given=fields), recipe, terms,
        label_weight=label_weight, seed=seed, checkpoint=checkpoint,
        about={"verb": "aekd", "largest": largest, "normalise": normalise,
               "temperature": temperature, "soft_weight": soft_weight},
    )  # fmt: skip
