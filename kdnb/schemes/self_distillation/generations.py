"""Born-again networks (Furlanello 2018): generations of one architecture, and what makes them work.

Each generation starts from fresh weights and learns from the generation before. Two controls
take the teacher's answer apart: CWTM keeps only how sure it is, DKPP keeps its winner and shuffles
the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.data import Batch
from kdnb.losses import soft_targets
from kdnb.schemes import offline
from kdnb.schemes.offline import batches_for, hard_loss
from kdnb.schemes.online.measures import ensemble_log_probabilities
from kdnb.schemes.self_distillation._common import History, fit_one, fresh, fresh_seed
from kdnb.schemes.self_distillation.dark_knowledge import (
    confidence_weighted,
    permuted_predictions,
)
from kdnb.training import Recipe
from kdnb.trials import Context, Outcome, Result

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

    with offline.asked(teacher, batches, recipe) as taught:
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
            history = offline.train(network, examples, recipe, smoothing=smoothing, **shared)
        line.append(Generation(network, history))
    return line


def _check_targets(targets: str) -> None:
    if targets not in TARGETS:
        raise ValueError(f"targets must be one of {', '.join(TARGETS)}; got {targets!r}.")


# --- as trials ------------------------------------------------------------------------------------


def generation_of(result: Result) -> int:
    """How many teachers stand behind a finished trial: 0 for one that learnt from labels."""
    number, description = 0, result.description
    while teacher := description["arguments"].get("teacher"):
        number, description = number + 1, teacher["trial"]
    return number


def ban_generation(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    teacher: Result,
    targets: Targets = "soft",
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    temperature: float = 1.0,
) -> Outcome:
    """A trial of `born_again`, whose teacher is the former generation's trial of the same seed.

    The weights and the order of the data come from `fresh_seed(seed, generation)`: a chain of
    generations shares its seed, its members no weights. An `offline.supervised` trial of that very
    seed starts from this generation's weights: the independent network to compare with.

    Returns:
        What `offline.supervised` measures, and `generation`.
    """
    number = generation_of(teacher) + 1
    own = fresh_seed(seed, number)
    task = offline.prepared(context, own, data, network, recipe)
    history = born_again(
        task.network, offline.network_of(teacher), task.batches, task.recipe, targets=targets,
        soft_weight=soft_weight, hard_weight=hard_weight, temperature=temperature, seed=own,
        **task.options,
    )  # fmt: skip
    outcome = task.outcome(history)
    return Outcome(
        {**outcome.metrics, "generation": float(number)}, outcome.series, outcome.tensors
    )


def ensemble_of(results: Sequence[Result], split: str = "test") -> dict[str, float]:
    """What the ensemble of finished trials measures, from the logits that they stored.

    Args:
        results: of `ban_generation` or `offline.supervised`, all on one data set.
        split: "test" or "validation".

    Returns:
        `members`, `{split}_errors`, `{split}_cross_entropy` of the mean probabilities, and
        `mean_member_errors`.

    Raises:
        ValueError: for no trial, or trials of several data sets.
    """
    specs = [result.description["arguments"]["data"] for result in results]
    names = sorted({data["name"] for data in specs})
    if len(names) != 1:
        raise ValueError(f"an ensemble needs trials of one data set; got {names}.")
    labels = offline.evaluated(getattr(datasets.load(names[0]), split), specs[0]).labels
    logits = [result.tensors()[f"logits.{split}"] for result in results]
    together = ensemble_log_probabilities([member.double() for member in logits])
    errors = [float((member.argmax(1) != labels).sum()) for member in logits]
    return {
        "members": float(len(logits)),
        f"{split}_errors": float((together.argmax(1) != labels).sum()),
        f"{split}_cross_entropy": float(F.cross_entropy(together, labels)),
        "mean_member_errors": sum(errors) / len(errors),
    }


def ensemble_trial(
    context: Context, seed: int, *, data: dict[str, Any], members: list[Result]
) -> Outcome:
    """A trial that trains nothing: what the ensemble of finished trials measures.

    Args:
        data: the `data_spec` that all members were trained and evaluated on.
        members: see `ensemble_of`.

    Returns:
        What `ensemble_of` measures on the test images.

    Raises:
        ValueError: when a member learnt from, or was evaluated on, other data.
    """
    if any(member.description["arguments"]["data"] != data for member in members):
        raise ValueError("the members of an ensemble must all have the ensemble's own data.")
    return Outcome(ensemble_of(members))
