"""Teacher assistants (TAKD, Mirzadeh et al. 2020) and the sweep that shows the capacity gap.

A teacher much larger than its student teaches it worse than one of medium size. TAKD inserts
networks of intermediate sizes, each taught by the one before. Cho and Hariharan 2019 report the
opposite, that such sequences do not help; `kdnb.methods.offline.eskd` implements their alternative.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

from torch import nn

from kdnb.methods.offline.distil import distil
from kdnb.methods.offline.rco import own_checkpoint
from kdnb.training import Fit, Recipe


def distil_in_turn(
    networks: Sequence[nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    teacher_data: Any = None,
    teacher_recipe: Recipe | None = None,
    seed: int = 0,
    **options: Any,
) -> list[Fit]:
    r"""Distil along a chain: teacher, assistants, student; each learns from the one before.

    .. math:: L_i = w_h\, H(y, q_i) + w_s\, T^2\, \mathrm{KL}(q_{i-1} \Vert q_i)

    (Mirzadeh et al. 2020, equation 3, for every pair of neighbours). With two networks this is
    plain distillation.

    Args:
        networks: the trained teacher first, the student last; all but the first are trained in
            place, one after the other.
        data, recipe: as in :func:`kdnb.distil`.
        teacher_data, teacher_recipe: data and recipe of the assistants; the student's if left out.
        options: passed to :func:`kdnb.distil`, the same for every pair, such as `method`,
            `temperature`, `weight`, `label_weight`; a checkpoint becomes one file per pair.

    Returns:
        The fit of every network but the first.

    Raises:
        ValueError: for fewer than two networks, or a network that occurs twice in the chain.
    """
    if len(networks) < 2 or len({id(network) for network in networks}) < len(networks):
        raise ValueError("a chain needs a teacher and at least one student, all different modules.")
    before = data if teacher_data is None else teacher_data, teacher_recipe or recipe
    return [
        distil(
            student, teacher, *((data, recipe) if student is networks[-1] else before), seed=seed,
            **own_checkpoint(options, number),
        )
        for number, (teacher, student) in enumerate(pairwise(networks))
    ]  # fmt: skip


def paths(networks: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Every chain from the first network to the last through some of those in between.

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
