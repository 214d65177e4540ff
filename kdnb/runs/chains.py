"""Chains of distillations as trials: each network is taught by the previous one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kdnb.runs.trials import Trial

Spec = dict[str, Any]


def chain(
    networks: Sequence[Spec],
    *,
    data: Spec,
    recipe: Spec,
    loss: Spec,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    teacher_data: Spec | None = None,
    teacher_recipe: Spec | None = None,
    seed: int = 0,
) -> list[Trial]:
    """A chain of trials: the teacher of each is the previous trial.

    Chains with the same beginning share its trials, which run once.

    Args:
        networks: descriptions as `kdnb.runs.task.built` takes them, teacher first.
        data, recipe, loss: of :func:`kdnb.runs.functions.offline.distilled`.
        teacher_data, teacher_recipe: data and recipe of all but the last network; by default those
            of the last.

    Returns:
        One trial for each network, the teacher's (trained on labels) first.

    Raises:
        ValueError: for fewer than two networks.
    """
    if len(networks) < 2:
        raise ValueError(f"a chain needs a teacher and a student; got {len(networks)} networks.")
    own = {"data": data, "recipe": recipe}
    before = {"data": teacher_data or data, "recipe": teacher_recipe or recipe}
    first, *others = networks
    trials = [supervised(first, **before, seed=seed)]
    for position, network in enumerate(others, start=1):
        arguments = {
            **(own if position == len(others) else before),
            "network": network, "teacher": trials[-1],
            "loss": loss, "soft_weight": soft_weight, "hard_weight": hard_weight,
        }  # fmt: skip
        trials.append(Trial("distilled", arguments, seed))
    return trials


def supervised(network: Spec, *, data: Spec, recipe: Spec, seed: int = 0) -> Trial:
    """The trial of a network without a teacher: a teacher itself, or a student's control."""
    arguments = {"data": data, "network": network, "recipe": recipe}
    return Trial("supervised", arguments, seed)


def capacity_gap(
    teachers: Sequence[Spec],
    student: Spec,
    *,
    data: Spec,
    recipe: Spec,
    loss: Spec,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    teacher_data: Spec | None = None,
    teacher_recipe: Spec | None = None,
    seed: int = 0,
) -> Iterator[tuple[Trial, Trial]]:
    """One student taught by teachers of several sizes (Mirzadeh 2020, section 3; Cho 2019).

    TAKD's claim is that the student's accuracy rises and then falls with the teacher's size,
    although the teacher's own accuracy keeps rising. The control is :func:`supervised` with the
    same student, which starts from the same weights.

    Args:
        teachers: descriptions, in any order.
        student: its description; the other arguments are those of :func:`chain`.

    Yields:
        (the teacher's trial, the trial of the student it teaches).
    """
    for teacher in teachers:
        yield tuple(
            chain(
                [teacher, student], data=data, recipe=recipe, loss=loss, soft_weight=soft_weight,
                hard_weight=hard_weight, teacher_data=teacher_data, teacher_recipe=teacher_recipe,
                seed=seed,
            )
        )  # fmt: skip
