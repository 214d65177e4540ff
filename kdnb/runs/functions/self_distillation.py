"""Self-distillation as runs: described by JSON values, memoised on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.nn import functional as F

from kdnb import data as datasets
from kdnb.losses import ensemble_log_probabilities
from kdnb.losses.checks import Variant
from kdnb.methods.self_distillation.ban import Targets, next_generation
from kdnb.methods.self_distillation.common import fresh_seed
from kdnb.methods.self_distillation.tfkd import virtually_taught
from kdnb.runs.task import network_of, prepared
from kdnb.runs.trials import Context, Outcome, Result
from kdnb.training.inputs import evaluated


def virtual_teacher_trial(
    context: Context,
    seed: int,
    *,
    data: dict[str, Any],
    network: dict[str, Any],
    recipe: dict[str, Any],
    temperature: float = 20.0,
    correct: float = 0.99,
    soft_weight: float = 0.1,
    hard_weight: float = 0.9,
    variant: Variant = "paper",
) -> Outcome:
    """A trial of `virtually_taught`, from the weights that `offline.supervised` starts from.

    Tf-KD_self as trials is `ban_generation` with a temperature and a hard_weight.
    """
    task = prepared(context, seed, data, network, recipe)
    history = virtually_taught(
        task.network, task.batches, task.recipe, temperature=temperature, correct=correct,
        soft_weight=soft_weight, hard_weight=hard_weight, variant=variant, seed=seed,
        **task.options,
    )  # fmt: skip
    return task.outcome(history)


def generation_of(result: Result) -> int:
    """The number of teachers before a finished trial: 0 for one that learnt from labels."""
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
    """A trial of `next_generation`, whose teacher is the previous generation's trial of the same seed.

    The weights and the order of the data come from `fresh_seed(seed, generation)`: a chain of
    generations shares its seed, but not the initial weights. An `offline.supervised` trial with that
    derived seed starts from this generation's weights: it is the independent network to compare with.

    Returns:
        The measurements of `offline.supervised`, and `generation`.
    """
    number = generation_of(teacher) + 1
    own = fresh_seed(seed, number)
    task = prepared(context, own, data, network, recipe)
    history = next_generation(
        task.network, network_of(teacher), task.batches, task.recipe, targets=targets,
        soft_weight=soft_weight, hard_weight=hard_weight, temperature=temperature, seed=own,
        **task.options,
    )  # fmt: skip
    outcome = task.outcome(history)
    return Outcome(
        {**outcome.metrics, "generation": float(number)}, outcome.series, outcome.tensors
    )


def ensemble_trial(
    context: Context, seed: int, *, data: dict[str, Any], members: list[Result]
) -> Outcome:
    """A trial without training: the measurements of an ensemble of finished trials.

    Args:
        data: the `data_spec` that all members were trained and evaluated on.
        members: see `ensemble_of`.

    Returns:
        The measurements of `ensemble_of` on the test images.

    Raises:
        ValueError: if a member learnt from, or was evaluated on, other data.
    """
    if any(member.description["arguments"]["data"] != data for member in members):
        raise ValueError("the members of an ensemble must all have the ensemble's own data.")
    return Outcome(ensemble_of(members))


def ensemble_of(results: Sequence[Result], split: str = "test") -> dict[str, float]:
    """The measurements of an ensemble of finished trials, from their stored logits.

    Args:
        results: from `ban_generation` or `offline.supervised`, all on one data set.
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
    labels = evaluated(getattr(datasets.load(names[0]), split), specs[0]).labels
    logits = [result.tensors()[f"logits.{split}"] for result in results]
    together = ensemble_log_probabilities([member.double() for member in logits])
    errors = [float((member.argmax(1) != labels).sum()) for member in logits]
    return {
        "members": float(len(logits)),
        f"{split}_errors": float((together.argmax(1) != labels).sum()),
        f"{split}_cross_entropy": float(F.cross_entropy(together, labels)),
        "mean_member_errors": sum(errors) / len(errors),
    }
