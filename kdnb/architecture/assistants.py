"""Teacher assistants (TAKD, Mirzadeh et al. 2020) and the sweep that shows the capacity gap.

A teacher much larger than its student teaches it worse than a middling one. TAKD puts networks of
sizes in between: each is taught by the one before. Cho and Hariharan 2019 report the contrary, that
such sequences do not help; `kdnb.schemes.route` holds what they do instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any

from torch import nn

from kdnb.schemes.offline import Loss, distil
from kdnb.schemes.route import own_checkpoint
from kdnb.training import Recipe
from kdnb.trials import Trial

Spec = dict[str, Any]


def distil_in_turn(
    networks: Sequence[nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    loss: Loss,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> list[list[dict[str, float]]]:
    r"""Distil along a chain: teacher, assistants, student; each learns from the one before.

    .. math:: L_i = w_h\, H(y, q_i) + w_s\, T^2\, \mathrm{KL}(q_{i-1} \Vert q_i)

    (Mirzadeh et al. 2020, equation 3, for every pair of neighbours). Two networks are plain
    distillation.

    Args:
        networks: the trained teacher first, the student last; all but the first are trained in
            place, one after the other.
        examples, recipe, loss, soft_weight, hard_weight: as in
            :func:`kdnb.schemes.offline.distil`, the same for every pair.
        options: of `training.fit`; a checkpoint becomes one file a pair.

    Returns:
        The history of every network but the first.

    Raises:
        ValueError: for fewer than two networks, or one that stands twice in the chain.
    """
    if len(networks) < 2 or len({id(network) for network in networks}) < len(networks):
        raise ValueError("a chain needs a teacher and at least one student, all different modules.")
    return [
        distil(
            student, teacher, examples, recipe, loss=loss, soft_weight=soft_weight,
            hard_weight=hard_weight, seed=seed, **own_checkpoint(options, number),
        )
        for number, (teacher, student) in enumerate(pairwise(networks))
    ]  # fmt: skip


def chain(
    networks: Sequence[Spec],
    *,
    data: Spec,
    recipe: Spec,
    loss: Spec,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    teacher_recipe: Spec | None = None,
    seed: int = 0,
) -> list[Trial]:
    """The same chain as trials: each one's teacher is the trial before.

    Chains with the same beginning share its trials, which run once.

    Args:
        networks: descriptions as `kdnb.schemes.offline.built` takes them, teacher first.
        data, recipe, loss: of :func:`kdnb.schemes.offline.distilled`.
        teacher_recipe: of the teacher, when it is another.

    Returns:
        One trial for each network, the teacher's (trained on labels) first.

    Raises:
        ValueError: for fewer than two networks.
    """
    if len(networks) < 2:
        raise ValueError(f"a chain needs a teacher and a student; got {len(networks)} networks.")
    first, *others = networks
    trials = [supervised(first, data=data, recipe=teacher_recipe or recipe, seed=seed)]
    for network in others:
        arguments = {
            "data": data, "network": network, "recipe": recipe, "teacher": trials[-1],
            "loss": loss, "soft_weight": soft_weight, "hard_weight": hard_weight,
        }  # fmt: skip
        trials.append(Trial("kdnb.schemes.offline:distilled", arguments, seed))
    return trials


def supervised(network: Spec, *, data: Spec, recipe: Spec, seed: int = 0) -> Trial:
    """The trial of a network that nobody teaches: a teacher, or a student's control."""
    arguments = {"data": data, "network": network, "recipe": recipe}
    return Trial("kdnb.schemes.offline:supervised", arguments, seed)


def paths(networks: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Every chain from the first network to the last by way of some of those between.

    TAKD compares them all: with n networks in between there are 2ⁿ.

    >>> paths([10, 6, 4, 2])
    [(10, 2), (10, 6, 2), (10, 4, 2), (10, 6, 4, 2)]
    """
    if len(networks) < 2:
        raise ValueError(f"a path needs a teacher and a student; got {len(networks)} networks.")
    first, *between, last = networks
    return [
        (first, *some, last)
        for count in range(len(between) + 1)
        for some in combinations(between, count)
    ]


def capacity_gap(
    teachers: Sequence[Spec],
    student: Spec,
    *,
    data: Spec,
    recipe: Spec,
    loss: Spec,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
    teacher_recipe: Spec | None = None,
    seed: int = 0,
) -> Iterator[tuple[Trial, Trial]]:
    """One student taught by teachers of several sizes (Mirzadeh 2020, section 3; Cho 2019).

    TAKD's claim is that the student's accuracy rises and then falls with the teacher's size,
    though the teacher's own accuracy goes on rising. The control is :func:`supervised` with the
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
                hard_weight=hard_weight, teacher_recipe=teacher_recipe, seed=seed,
            )
        )  # fmt: skip
