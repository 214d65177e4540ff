"""One target from several teachers' answers: means, fixed weights, or weights per sample.

Combinations that need no labels are a single frozen teacher, an `Ensemble`, for every method of
`kdnb.distil`: the
mean (Hinton, Vinyals and Dean 2015), fixed weights (Chebotar and Waters 2016; Cui et al. 2017, with
acoustic models of several languages), or :func:`kdnb.losses.certainty_weights`. Weights that depend
on the label belong in `learn_from_ensemble`: for teachers that are right (Kang et al. 2020), or
close to the label (CA-MKD).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import check_choice, check_temperature
from kdnb.losses.ensemble import Mean
from kdnb.methods.multi_teacher.common import learn
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.teachers import check_teachers
from kdnb.training import Fit, Recipe
from kdnb.training.answers import Ensemble
from kdnb.training.identity import of_function
from kdnb.training.inputs import batches_for

__all__ = ["Ensemble", "WeighByLabel", "learn_from_ensemble"]

# (the teachers' logits, labels) -> weights (K,) or (K, batch)
WeighByLabel = Callable[[list[Tensor], Tensor], Tensor]


def learn_from_ensemble(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    weigh: WeighByLabel = losses.oracle_weights,
    mean: Mean = "arithmetic",
    temperature: float = 4.0,
    soft_weight: float = 1.0,
    label_weight: float = 1.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Train a student on the weighted mean of several teachers; weights may depend on labels.

    .. math:: L = w_h H(y, q) + w_s T^2\, \mathrm{KL}(\bar p \,\|\, q), \quad
        \bar p = \sum_k w_{k}(v, y)\, \mathrm{softmax}(v_k / T)

    Weights that need no labels belong in an `Ensemble`, a teacher for `kdnb.distil`.

    Args:
        student: trained in place.
        teachers: frozen, at least one.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`; labels are classes.
        weigh: a function of the teachers' logits, before T, and the labels:
            :func:`kdnb.losses.oracle_weights` (Kang et al. 2020) or
            :func:`kdnb.losses.confidence_weights` (CA-MKD).
        mean: "arithmetic" or "geometric".
        temperature: T of all teachers and the student.
        soft_weight, label_weight: w_s and w_h.

    Returns:
        The history, with `soft` and `hard`, and the network "student".

    Raises:
        ValueError: for no teacher, a student that is its own teacher, or as `kdnb.distil`.

    Departures: Kang et al. also search for the student's architecture, and CA-MKD also weights
    hints of middle layers; both are left out.
    """
    recipe = recipe_of(learn_from_ensemble, recipe, fields)
    found = check_teachers("learn_from_ensemble", student, teachers)
    check_choice(("arithmetic", "geometric"), mean=mean)
    check_temperature(temperature)
    check_weights_of_terms(soft_weight=soft_weight, label_weight=label_weight)

    def terms(batch: Batch, ours: Tensor, theirs: list[Tensor]) -> dict[str, Tensor]:
        softened = [logits / temperature for logits in theirs]
        weights = weigh(theirs, batch.labels)
        target = temperature * losses.ensemble_log_probabilities(softened, weights, mean)
        return {"soft": soft_weight * losses.soft_targets(ours, target, temperature)}

    return learn(
        student, found, batches_for(data, recipe, seed, given=fields), recipe, terms,
        label_weight=label_weight, evaluate=evaluate, seed=seed, checkpoint=checkpoint,
        about={"verb": "learn_from_ensemble", "weigh": of_function(weigh), "mean": mean,
               "temperature": temperature, "soft_weight": soft_weight},
    )  # fmt: skip
