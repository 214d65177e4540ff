"""Teacher-free distillation, Tf-KD (Yuan 2020): a virtual teacher, and the network's own past self.

A hand-made teacher that is always right and nearly certain is almost label smoothing;
:func:`equivalent_smoothing` gives the exact condition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, teacher_free_regularisation
from kdnb.losses.checks import Variant
from kdnb.methods.self_distillation.ban import born_again
from kdnb.methods.self_distillation.common import History, fit_one
from kdnb.training import Fit, Recipe


def virtually_taught(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    temperature: float = 20.0,
    correct: float = 0.99,
    soft_weight: float = 0.1,
    hard_weight: float = 0.9,
    variant: Variant = "paper",
    seed: int = 0,
    **options: Any,
) -> History:
    """Train with Tf-KD_reg: hard_weight · cross-entropy + soft_weight · the virtual teacher.

    Args:
        network: trained in place.
        temperature, correct, variant: see `teacher_free_regularisation`.
        soft_weight, hard_weight: the paper's α and 1 - α.
        options: passed to `training.fit`.
    """

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        soft = teacher_free_regularisation(logits, batch.labels, temperature, correct, variant)
        return {
            "hard": hard_weight * hard_loss(logits, batch.labels),
            "soft": soft_weight * soft,
        }

    return fit_one(network, examples, recipe, terms, seed=seed, **options)


def self_taught(
    make: Callable[[], nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    temperature: float = 20.0,
    soft_weight: float = 0.9,
    hard_weight: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> Fit:
    """Train with Tf-KD_self (Yuan 2020, section 4): a network, then another from its answers.

    This is one generation of born-again networks, with a temperature and labels.

    Args:
        make: builds an untrained network from torch's random state; called twice.
        soft_weight, hard_weight: the paper's α and 1 - α.
        options: passed to `born_again`.

    Returns:
        As `born_again`: the teacher is `generation0`, the student `generation1`; they start from
        different weights.

    Departures: the paper tunes α and the temperature for every network; the defaults are of the
    same order.
    """
    return born_again(
        make, examples, recipe, generations=1, temperature=temperature,
        weight=soft_weight, label_weight=hard_weight, seed=seed, **options,
    )  # fmt: skip
