"""Apprentice (Mishra and Marr 2018): three schemes for a teacher and a low-precision student."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import apprenticeship
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.online.common import constrain_all
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.quantized.activations import Rounded, rounded_activations
from kdnb.methods.quantized.common import check_first, imitate
from kdnb.methods.quantized.quantisers import ternary
from kdnb.methods.quantized.weights import Quantiser, quantised
from kdnb.methods.teachers import check_pair
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import twin_of
from kdnb.training.identity import of_function
from kdnb.training.inputs import batches_for
from kdnb.training.watching import watching

Scheme = Literal["A", "B", "C"]
SCHEMES: tuple[Scheme, ...] = ("A", "B", "C")


def apprentice(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    scheme: Scheme = "B",
    quantiser: Quantiser = ternary,
    activation_bits: int | None = 8,
    keep: Collection[str] | str = "ends",
    teacher_weight: float = 1.0,
    label_weight: float = 0.5,
    imitation_weight: float = 0.5,
    slower: float = 0.1,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Apprentice (Mishra and Marr 2018), by the loss :func:`kdnb.losses.apprenticeship`.

    - Scheme A: teacher and apprentice learn together, both from scratch.
    - Scheme B: a trained teacher is frozen, the apprentice learns from scratch.
    - Scheme C: as B, but the apprentice starts from weights that were trained in full precision,
      and learns at a lower rate.

    Args:
        student: the apprentice, in full precision: untrained in A and B, already trained in C.
            Changed in place; its final weights are quantised.
        teacher: trained and frozen in B and C; in A trained together with the apprentice.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`.
        quantiser: quantiser of each layer's weights.
        activation_bits: bits of the outputs of ReLU modules; None leaves them in full precision.
        keep: layers in full precision: the first and the last.
        teacher_weight, label_weight, imitation_weight: alpha, beta, gamma; alpha has no effect in B
            and C.
        slower: the factor of scheme C's learning rate.

    Returns:
        The history, with the term `apprentice`; the networks "student", in A "teacher", and with
        quantised activations "deployed": the student with them.

    Raises:
        ValueError: for an unknown scheme, or as `kdnb.distil`.

    Recalled: the schemes, the first and last layer in full precision, 8 bits for activations, and
    that scheme C has a lower rate; the factor 0.1 is ours.
    """
    recipe = recipe_of(apprentice, recipe, fields)
    check_choice(SCHEMES, scheme=scheme)
    check_pair(student, teacher)
    check_number(above=0, most=1, slower=slower)
    check_number(least=0, teacher_weight=teacher_weight)
    check_weights_of_terms(label_weight=label_weight, imitation_weight=imitation_weight)
    if scheme == "C":
        recipe = recipe.model_copy(update={"lr": recipe.lr * slower})
    batches = batches_for(data, recipe, seed, given=fields)
    check_first(batches, seed, student, teacher)
    weights = {"teacher_weight": teacher_weight if scheme == "A" else 0.0,
               "label_weight": label_weight, "imitation_weight": imitation_weight}  # fmt: skip

    def terms(batch: Batch, ours: Tensor, theirs: Tensor) -> dict[str, Tensor]:
        return {"apprentice": apprenticeship(ours, theirs, batch.labels, **weights)}

    about = {"verb": "apprentice", "scheme": scheme, "quantiser": of_function(quantiser),
             "activations": activation_bits, **weights}  # fmt: skip
    options: dict[str, Any] = {"seed": seed, "checkpoint": checkpoint}
    networks = {"student": student}
    with _rounding(student, activation_bits):
        with quantised(student, quantiser, keep=keep):
            if scheme == "A":
                networks["teacher"] = teacher
                history = _together(networks, batches, recipe, terms, about, evaluate, options)
            else:
                history = imitate(
                    student, teacher, batches, recipe, terms, about=about, evaluate=evaluate,
                    **options,
                )  # fmt: skip
        if activation_bits is not None:
            networks["deployed"] = twin_of(student)
    return Fit.of(history, networks)


def _rounding(network: nn.Module, bits: int | None) -> contextlib.AbstractContextManager:
    if bits is None:
        return contextlib.nullcontext()
    Rounded(bits)  # rejects invalid bits
    return rounded_activations(network, lambda: Rounded(bits))


def _together(
    networks: dict[str, nn.Module],
    batches: Any,
    recipe: Recipe,
    terms: Any,
    about: dict[str, Any],
    evaluate: Any,
    options: dict[str, Any],
) -> list[dict[str, float]]:
    def losses(trained: Networks, batch: Batch) -> dict[str, Tensor]:
        return terms(batch, *(trained[name](batch.images) for name in ("student", "teacher")))

    update = Update(("student", "teacher"), losses, after=lambda: constrain_all(networks))
    return fit(
        networks, batches, update, recipe, answers=dict.fromkeys(networks, logits_of),
        evaluate=watching(evaluate, {"student": networks["student"]}),
        identity={"method": about}, **options,
    )  # fmt: skip
