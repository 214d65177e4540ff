"""Born-again networks (Furlanello 2018): generations of one architecture, and what makes them work.

Each generation starts from fresh weights and learns from the generation before. Two controls
take the teacher's answer apart: CWTM keeps only how sure it is, DKPP keeps its winner and shuffles
the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import (
    confidence_weighted,
    hard_loss,
    permuted_predictions,
    soft_targets,
)
from kdnb.methods.offline import distil
from kdnb.methods.self_distillation.common import History, fit_one, fresh, fresh_seed
from kdnb.training import Recipe
from kdnb.training.inputs import batches_for
from kdnb.training.teacher import asked

Targets = Literal["soft", "cwtm", "dkpp"]
TARGETS = ("soft", "cwtm", "dkpp")


class Generation(NamedTuple):
    """A trained network and its history."""

    network: nn.Module
    history: History


def born_again(
    student: nn.Module,
    teacher: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    targets: Targets = "soft",
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    temperature: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train one generation: soft_weight · (what the teacher says) + hard_weight · cross-entropy.

    Args:
        student: trained in place. Of the teacher's architecture, from other initial weights.
        teacher: the generation before, frozen.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        targets: "soft" (BAN, and BAN+L with a hard_weight), "cwtm" or "dkpp"; DKPP draws new
            permutations in every step.
        temperature: of "soft" and "dkpp"; the paper uses none.
        options: of `training.fit`.

    Returns:
        The history, one dict an epoch.

    Raises:
        ValueError: for other targets.
    """
    _check_targets(targets)
    batches = batches_for(examples, recipe, seed)

    def soft(logits: Tensor, answer: Tensor, labels: Tensor) -> Tensor:
        if targets == "cwtm":
            return confidence_weighted(logits, answer, labels)
        answer = permuted_predictions(answer) if targets == "dkpp" else answer
        return soft_targets(logits, answer, temperature)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        parts = {"soft": soft_weight * soft(logits, taught(networks, batch), batch.labels)}
        if hard_weight:
            parts["hard"] = hard_weight * hard_loss(logits, batch.labels)
        return parts

    with asked(teacher, batches, recipe) as taught:
        return fit_one(
            student, batches, recipe, terms, seed=seed, frozen={"teacher": teacher}, **options
        )


def train_generations(
    make: Callable[[], nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    generations: int,
    targets: Targets = "soft",
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    temperature: float = 1.0,
    smoothing: float = 0.0,
    seed: int = 0,
    checkpoint: Path | None = None,
    **options: Any,
) -> list[Generation]:
    """Born-again networks from the first generation on (Furlanello 2018, section 3).

    Args:
        make: builds an untrained network from torch's random state; called once a generation,
            each time with another seed, so that no two start from the same weights.
        generations: taught ones: the result holds one more, generation 0, which learns from labels.
        smoothing: of generation 0's labels.
        checkpoint: a file; generation k writes beside it, with its number in the name.
        targets, soft_weight, hard_weight, temperature: see `born_again`.
        options: of `training.fit`.

    Returns:
        generations + 1 trained networks with their histories.

    Raises:
        ValueError: for fewer than 0 generations, or other targets.
    """
    _check_targets(targets)
    if generations < 0:
        raise ValueError(f"generations must be at least 0; got {generations}.")
    line: list[Generation] = []
    for number in range(generations + 1):
        own = fresh_seed(seed, number)
        network = fresh(make, own)
        file = checkpoint and checkpoint.with_name(f"{checkpoint.name}.{number}")
        shared = {"seed": own, "checkpoint": file, **options}
        if line:
            history = born_again(
                network, line[-1].network, examples, recipe, targets=targets,
                soft_weight=soft_weight, hard_weight=hard_weight, temperature=temperature, **shared,
            )  # fmt: skip
        else:
            history = distil.train(network, examples, recipe, smoothing=smoothing, **shared)
        line.append(Generation(network, history))
    return line


def _check_targets(targets: str) -> None:
    if targets not in TARGETS:
        raise ValueError(f"targets must be one of {', '.join(TARGETS)}; got {targets!r}.")


# --- as trials ------------------------------------------------------------------------------------
