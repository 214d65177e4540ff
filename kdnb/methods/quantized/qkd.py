"""QKD (Kim et al. 2019): self-studying, co-studying, tutoring."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.losses.checks import check_lists, check_number, check_temperature
from kdnb.methods.offline.distil import train
from kdnb.methods.online.common import constrain_all
from kdnb.methods.options import recipe_of
from kdnb.methods.quantized.activations import rounded_activations
from kdnb.methods.quantized.common import check_first, imitate, kd_terms
from kdnb.methods.quantized.quantisers import LearntStep
from kdnb.methods.quantized.weights import parametrised
from kdnb.methods.teachers import check_pair
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import twin_of
from kdnb.training.checkpoint import file_of
from kdnb.training.inputs import batches_for
from kdnb.training.watching import watching

PHASES = ("self", "co", "tutoring")


def qkd(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    bits: int = 2,
    activation_bits: int | None = None,
    shares: Sequence[float] = (1.0, 1.0, 1.0),
    keep: Collection[str] | str = "ends",
    temperature: float = 2.0,
    soft_weight: float = 1.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Quantization-aware knowledge distillation in three phases (Kim et al. 2019).

    1. Self-studying: the quantised student learns only from labels.
    2. Co-studying: both learn from labels and from each other, so that the full-precision teacher
       moves towards what a quantised network can answer,

       .. math:: L_S = H(y, q) + w T^2\, \mathrm{KL}(p \,\|\, q), \qquad
           L_T = H(y, p) + w T^2\, \mathrm{KL}(q \,\|\, p).

    3. Tutoring: the teacher is frozen, the student goes on with :math:`L_S`.

    Weights, and activations if requested, are quantised with steps that learn
    (:class:`kdnb.methods.quantized.LearntStep`).

    Args:
        student: already trained in full precision; changed in place.
        teacher: already trained; changed in place in the second phase.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`. Each phase has its
            share of the recipe's epochs and its own schedule; phase k writes a checkpoint with k in
            its name.
        bits: of the weights, at least 2.
        activation_bits: bits of the outputs of ReLU modules; None leaves them in full precision.
        shares: shares of the epochs, in proportion. A phase of share 0 is left out.
        keep: layers in full precision.
        temperature, soft_weight: T and w.

    Returns:
        The history, with `phase` (1, 2 or 3), and terms `hard` and `soft`, in the second phase
        `teacher.hard` and `teacher.soft` as well; the networks "student" and "teacher", and with
        quantised activations "deployed": the student with them.

    Raises:
        ValueError: for no epoch in any phase, or as `kdnb.distil`.

    Departures: the phases are those of the abstract; a public re-implementation has the same two
    losses, with weights that are equal by default. Training the intervals is recalled. Keeping the
    first and last layer in full precision, and the equal thirds, are ours.
    """
    recipe = recipe_of(qkd, recipe, fields)
    check_pair(student, teacher)
    check_temperature(temperature)
    check_number(least=0, soft_weight=soft_weight)
    plans = _planned(recipe, shares)
    batches = batches_for(data, recipe, seed, given=fields)
    check_first(batches, seed, student, teacher, learns=False)  # the steps always learn
    networks, about = {"student": student, "teacher": teacher}, {"verb": "qkd", "bits": bits}
    rows: list[dict[str, Any]] = []
    activations: Any = contextlib.nullcontext()
    if activation_bits is not None:
        activations = rounded_activations(student, partial(LearntStep, activation_bits, False))
    with activations:
        with parametrised(student, lambda w: LearntStep(bits, True, w), keep=keep):
            for number, (phase, plan) in enumerate(plans.items()):
                options: dict[str, Any] = {"seed": seed, "evaluate": evaluate,
                                           "checkpoint": file_of(checkpoint, number)}  # fmt: skip
                if phase == "self":
                    found = train(student, batches, plan, **options).rows
                elif phase == "co":
                    found = _co_study(
                        networks, batches, plan, soft_weight, temperature, about, options
                    )
                else:
                    found = imitate(
                        student, teacher, batches, plan, kd_terms(soft_weight, 1.0, temperature),
                        about={**about, "terms": [soft_weight, temperature]}, **options,
                    )  # fmt: skip
                rows += [
                    {**row, "epoch": len(rows) + row["epoch"], "phase": 1 + PHASES.index(phase)}
                    for row in found
                ]
        if activation_bits is not None:
            networks["deployed"] = twin_of(student)
    return Fit.of(rows, networks)


def _planned(recipe: Recipe, shares: Sequence[float]) -> dict[str, Recipe]:
    """The recipe of each phase with at least one epoch."""
    check_lists(count=3, shares=list(shares))
    for share in shares:
        check_number(least=0, shares=share)
    whole = sum(shares)
    if not whole:
        raise ValueError("shares are those of three phases, one of them above 0.")
    ends = [round(recipe.epochs * sum(shares[: k + 1]) / whole) for k in range(3)]
    epochs = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    return {
        phase: recipe.model_copy(update={"epochs": count})
        for phase, count in zip(PHASES, epochs, strict=True)
        if count
    }


def _co_study(
    networks: dict[str, nn.Module],
    batches: Any,
    recipe: Recipe,
    weight: float,
    temperature: float,
    about: dict[str, Any],
    options: dict[str, Any],
) -> list[dict[str, float]]:
    def losses(trained: Networks, batch: Batch) -> dict[str, Tensor]:
        z, v = (trained[name](batch.images) for name in ("student", "teacher"))
        return {
            "hard": hard_loss(z, batch.labels),
            "soft": weight * soft_targets(z, v.detach(), temperature),
            "teacher.hard": hard_loss(v, batch.labels),
            "teacher.soft": weight * soft_targets(v, z.detach(), temperature),
        }

    both = {name: networks[name] for name in ("student", "teacher")}
    update = Update(tuple(both), losses, after=lambda: constrain_all(both))
    watch = watching(options.pop("evaluate"), {"student": both["student"]})
    return fit(
        both, batches, update, recipe, answers=dict.fromkeys(both, logits_of), evaluate=watch,
        identity={"method": {**about, "phase": "co", "terms": [weight, temperature]}}, **options,
    )  # fmt: skip
