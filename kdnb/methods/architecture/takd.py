"""Teacher assistants (TAKD, Mirzadeh et al. 2020) and the sweep that shows the capacity gap.

A teacher much larger than its student teaches it worse than a middling one. TAKD puts networks of
sizes in between: each is taught by the one before. Cho and Hariharan 2019 report the contrary, that
such sequences do not help; `kdnb.methods.offline.eskd` holds what they do instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

from torch import nn

from kdnb.methods.offline.distil import Loss, distil
from kdnb.methods.offline.rco import own_checkpoint
from kdnb.training import Recipe

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
            :func:`kdnb.methods.offline.distil.distil`, the same for every pair.
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
            student, teacher, examples, recipe, method=loss, weight=soft_weight,
            label_weight=hard_weight, seed=seed, **own_checkpoint(options, number),
        ).rows
        for number, (teacher, student) in enumerate(pairwise(networks))
    ]  # fmt: skip


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
