"""Policies of grid worlds, distilled in several ways, as trials."""

from __future__ import annotations

from math import log2
from typing import Any

import numpy as np

from kdnb.methods.applications.policy import (
    GridWorld,
    PolicyFit,
    Table,
    best_policy,
    distil_policy,
    draw_world,
    q_learning,
    softened,
    value_of,
    values_of,
)
from kdnb.runs.trials import Context, Outcome
from kdnb.training.randomness import mix

WORLDS = 1000  # most worlds drawn for a seed
REACHED = 90  # percent of the teacher's value at which a student counts as taught


def drawn_world(
    seed: int, world: dict[str, Any], teacher: dict[str, Any]
) -> tuple[GridWorld, Table, dict[str, float]]:
    """The first world of a seed in which Q-learning succeeds.

    Args:
        world: of `draw_world`.
        teacher: `steps` of Q-learning, the `temperature` of its policy, and `least`, the share of the best
            policy's value in percent that it must reach.

    Returns:
        The world; (states, 4) probabilities of the teacher; and numbers: the teacher's value in percent of the
        best one, that of random play in percent of the teacher's, and the number of skipped worlds.

    Raises:
        ValueError: if no such world is found.
    """
    for number in range(WORLDS):
        made = draw_world(mix(seed, 0, number) % 2**32, **world)
        best = value_of(made, best_policy(made))
        if best < 1:
            continue  # no goal is near enough to be worth reaching
        values = q_learning(made, teacher["steps"], seed=mix(seed, 1, number) % 2**32)
        policy = softened(values, teacher["temperature"])
        own = value_of(made, policy)
        if 100 * own >= teacher["least"] * best:
            random = value_of(made, np.full((len(made), 4), 0.25))
            found = {"teacher": 100 * own / best, "random": 100 * random / own}
            return made, policy, {**found, "passed": float(number)}
    raise ValueError(
        f"in none of {WORLDS} worlds has Q-learning {teacher['least']}% of the best policy's value."
    )


def policy_trial(
    context: Context,
    seed: int,
    *,
    world: dict[str, Any],
    teacher: dict[str, Any],
    students: dict[str, dict[str, Any]],
    noise: float,
) -> Outcome:
    """Students of one teacher in one random world.

    Args:
        world, teacher: as for `drawn_world`.
        students: by name, options of `distil_policy`; in addition, `noisy` for students of a teacher that
            acts at random with the probability `noise`, and `valued` for those that know its values.
        noise: the probability of random actions of the noisy teacher.

    Returns:
        For each student `_final` and `_share`, its value at the end and on average over all evaluations, in
        percent of its teacher's; `_episodes` and `_steps` until it first had 90% of it (all, if never), and
        their binary logarithms `_doublings` and `_stepdoublings`. For `world` the numbers of `drawn_world`, and `noisy`, the
        value of the noisy teacher in percent of the teacher's.
    """
    made, policy, about = drawn_world(seed, world, teacher)
    spoilt = (1 - noise) * policy + noise / 4
    about["noisy"] = 100 * value_of(made, spoilt) / value_of(made, policy)
    metrics = {f"world_{name}": value for name, value in about.items()}
    series: dict[str, list[float]] = {}
    for name, options in students.items():
        own = dict(options)
        goal = spoilt if own.pop("noisy", False) else policy
        critic = values_of(made, goal) if own.pop("valued", False) else None
        fit = distil_policy(made, goal, critic=critic, seed=mix(seed, 2) % 2**32, **own)
        shares = [100 * value / value_of(made, goal) for value in fit.values]
        metrics |= {f"{name}_{key}": value for key, value in _summary(fit, shares).items()}
        series[name] = shares
    return Outcome(metrics, series=series)


def _summary(fit: PolicyFit, shares: list[float]) -> dict[str, float]:
    there = [place for place, share in enumerate(shares) if share >= REACHED]
    place = max(there[0], 1) if there else -1
    episodes, steps = fit.episodes[place], fit.steps[place]
    return {
        "final": shares[-1],
        "share": sum(shares[1:]) / (len(shares) - 1),
        "episodes": float(episodes),
        "steps": float(steps),
        "doublings": log2(episodes),
        "stepdoublings": log2(steps),
    }
