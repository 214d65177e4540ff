"""Multi-exit distillation (Phuong and Lampert 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdnb.data import Batch
from kdnb.losses.checks import at_least_float32, check_temperature
from kdnb.methods.self_distillation.byot import exit_terms
from kdnb.methods.self_distillation.common import History, fit_one
from kdnb.methods.self_distillation.exits import MultiExit
from kdnb.training import Recipe


def annealed_temperature(
    temperature: Tensor, logits: Tensor, confidence: float = 0.5, factor: float = 1.05
) -> Tensor:
    """The next step's temperature: multiplied by `factor` while the teacher is too confident.

    Args:
        temperature: temperature of this step.
        logits: logits of the teaching exit, (batch, classes).
        confidence: the mean largest probability that is accepted.

    >>> annealed_temperature(torch.tensor(1.0), torch.tensor([[5.0, 0.0]]))
    tensor(1.0500)
    """
    sure = (at_least_float32(logits.detach()) / temperature).softmax(1).amax(1).mean()
    return torch.where(sure > confidence, temperature * factor, temperature)


def multi_exit_distil(
    network: MultiExit,
    examples: Any,
    recipe: Recipe,
    *,
    temperature: float | None = None,
    soft_weight: float = 0.5,
    hard_weight: float = 0.5,
    confidence: float = 0.5,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train early exits to imitate the last one (Phuong and Lampert 2019, ICCV, section 3).

    Args:
        network: trained in place.
        temperature: a constant, or None for the paper's annealing: from 1 on, times 1.05 after
            every step in which the last exit's largest probability exceeds `confidence` on average.
            The temperature reached is `network.temperature`, part of every checkpoint.
        soft_weight, hard_weight: weights of the early exits' distillation and of every exit's
            cross-entropy, the paper's α and 1 - α.
        options: passed to `training.fit`.

    Departures: none known (the authors' loss read; they scale the sum by a further constant, which
    the learning rate takes up).
    """
    if temperature is not None:
        check_temperature(temperature)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        # A copy: the buffer moves on before the gradients are taken.
        current = network.temperature.clone() if temperature is None else temperature
        parts = exit_terms(
            logits, batch.labels, temperature=current,
            soft_weight=soft_weight, hard_weight=hard_weight, last_hard_weight=hard_weight,
        )  # fmt: skip
        if temperature is None:
            network.temperature.copy_(annealed_temperature(current, logits[:, -1], confidence))
        return parts

    return fit_one(network, examples, recipe, terms, seed=seed, **options)
