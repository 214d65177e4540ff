"""Policy distillation (Rusu et al. 2016, Czarnecki et al. 2019): a student imitates a policy.

Worlds have few enough states for exact values, see :mod:`kdnb.methods.applications.worlds`. A
policy is a table (states, actions) of probabilities; a student is the table of its logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_softmax, softmax

from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.applications.worlds import SURVIVAL, GridWorld, Table, World, draw_world

__all__ = [
    "CONTROLS", "OBJECTIVES", "SURVIVAL", "GridWorld", "PolicyFit", "Table", "action_values", "asymmetry", "best_policy",
    "distil_policy", "draw_world", "expected_update", "q_learning", "softened", "value_of", "values_of", "visits",
]  # fmt: skip
Control = Literal["student", "teacher", "uniform"]
Objective = Literal["cross_entropy", "entropy", "expected_entropy", "rewards"]
CONTROLS = ("student", "teacher", "uniform")
OBJECTIVES = ("cross_entropy", "entropy", "expected_entropy", "rewards")


def value_of(world: World, policy: Table) -> float:
    """The exact mean return of an episode under a policy."""
    return float(world.starts @ values_of(world, policy))


def values_of(world: World, policy: Table) -> Table:
    """(states,): the exact mean return of an episode under a policy, by starting state."""
    return np.linalg.solve(np.eye(len(world)) - world.onward(policy), world.gains(policy))


def action_values(world: World, values: Table) -> Table:
    """(states, actions): the value of each action, given the `values` (states,) that follow."""
    return world.action_values(values)


def best_policy(world: World) -> Table:
    """(states, actions): an optimal policy, by policy iteration."""
    policy = np.full((len(world), world.actions), 1 / world.actions)
    values = values_of(world, policy)
    while True:
        better = np.eye(world.actions)[world.action_values(values).argmax(1)]
        improved = values_of(world, better)
        certain = set(policy.flat) <= {0, 1}
        # In all states: the first state may depend on later ones.
        if certain and (improved <= values + 1e-12).all():
            return policy
        policy, values = better, improved


def q_learning(
    world: GridWorld, steps: int, *, rate: float = 0.1, exploration: float = 0.2, seed: int = 0
) -> Table:
    """(states, 4) action values, learnt from `steps` steps of epsilon-greedy play in a grid."""
    check_number(least=1, whole=True, steps=steps)
    check_number(above=0, most=1, rate=rate)
    check_number(least=0, most=1, exploration=exploration)
    stream = np.random.default_rng(seed)
    chance = stream.random((steps, 3)).tolist()
    ways = stream.integers(0, 4, (steps, 2)).tolist()
    moves, rewards, terminal = world.moves.tolist(), world.rewards.tolist(), world.terminal.tolist()
    table = (1e-3 * stream.random((len(world), 4))).tolist()  # ties are broken at random
    state = world.start
    for (explore, slip, end), (any_way, slipped) in zip(chance, ways, strict=True):
        own = table[state]
        action = any_way if explore < exploration else own.index(max(own))
        after = moves[state][slipped if slip < world.noise else action]
        over = terminal[after]
        target = rewards[after] + (0 if over else SURVIVAL * max(table[after]))
        own[action] += rate * (target - own[action])
        state = world.start if over or end > SURVIVAL else after
    return np.array(table)


def softened(values: Table, temperature: float) -> Table:
    """The policy softmax(Q / T); Rusu et al. use T far below 1, as Q values differ little."""
    check_number(above=0, temperature=temperature)
    return softmax(values / temperature, axis=1)


@dataclass(frozen=True)
class PolicyFit:
    """A trained student and the course of its training.

    Attributes:
        logits: (states, actions) after training.
        episodes, steps, values: at each evaluation: episodes and actions so far, and the student's
            exact mean return. The first evaluation is before any episode.
    """

    logits: Table
    episodes: list[int]
    steps: list[int]
    values: list[float]

    @property
    def policy(self) -> Table:
        return softmax(self.logits, axis=1)


def distil_policy(
    world: World,
    teacher: Table,
    *,
    control: Control = "student",
    objective: Objective = "cross_entropy",
    episodes: int = 400,
    rate: float = 0.1,
    reward_weight: float = 0.0,
    critic: Table | None = None,
    look: int = 5,
    seed: int = 0,
) -> PolicyFit:
    r"""Train a tabular student of a teacher's policy (Czarnecki 2019), one step per episode, along

    .. math:: \mathrm E_{\tau \sim q} \Big[ \sum_t \nabla \log \pi_\theta(a_t | s_t)\, \hat R_t
        - \nabla \ell(s_t) \Big], \qquad \hat R_t = \sum_{i \ge t} \hat r_i .

    The episode :math:`\tau` is played by the control policy q.

    - "cross_entropy": :math:`\ell = H(\pi, \pi_\theta)` and :math:`\hat r = 0`. With q = the
      teacher's policy it is the gradient of a function of the student; with the student's own it is
      not.
    - "entropy": :math:`\hat r_t = \log \pi(a_t|s_t) - \log \pi_\theta(a_t|s_t)` and
      :math:`\ell = 0`, an estimate of the gradient of the divergence of whole episodes by the
      actions that were drawn.
    - "expected_entropy": :math:`\ell = \mathrm{KL}(\pi_\theta(s_t) \| \pi(s_t))` over all actions,
      and :math:`\hat R_t = -\sum_{i > t} \ell(s_i)`: the same gradient on average.
    - "rewards": :math:`\ell = 0`, :math:`\hat r = 0`: the student learns only from the world's
      rewards.

    Args:
        world: where episodes are played.
        teacher: (states, actions) probabilities; in a grid action a moves as a modulo 4.
        control: which policy plays; all objectives except "cross_entropy" need the student's.
        episodes: how many.
        rate: learning rate of the steps.
        reward_weight: the world's rewards times this number are added to :math:`\hat r`.
        critic: (states,) baseline values: the reward is then :math:`r + V(s') - V(s)`, and only
            that of the current step counts.
        look: the number of episodes between evaluations.
        seed: for the episodes.

    Returns:
        A `PolicyFit`. The student starts with equal probabilities.

    Departures: the update and the controls were read in a public notebook about the paper; the
    forms of the two entropy objectives are recalled.
    """
    check_choice(CONTROLS, control=control)
    check_choice(OBJECTIVES, objective=objective)
    check_number(least=1, whole=True, episodes=episodes, look=look)
    check_number(above=0, rate=rate)
    check_number(least=0, reward_weight=reward_weight)
    if objective != "cross_entropy" and control != "student":
        raise ValueError(f'objective "{objective}" needs control="student"; got "{control}".')
    world.check_policy(teacher=teacher)
    stream = np.random.default_rng(seed)
    logits = np.zeros(teacher.shape)
    log_teacher = np.log(np.maximum(teacher, 1e-300))
    uniform = np.full(teacher.shape, 1 / teacher.shape[1])
    looks, paid, counts, steps = [0], [value_of(world, uniform)], [0], 0
    for episode in range(1, episodes + 1):
        log_p = log_softmax(logits, axis=1)
        p = np.exp(log_p)
        player = {"student": p, "teacher": teacher, "uniform": uniform}[control]
        states, actions, after, gained, over = world.play(player, stream)
        steps += len(states)
        own, seen = p[states], log_p[states]
        gap = seen - log_teacher[states]
        here = (own * gap).sum(1)  # KL(student || teacher) at each step
        drawn = gap[np.arange(len(states)), actions]
        step = np.zeros_like(own)
        returns = np.zeros(len(states))
        if objective == "cross_entropy":
            step += teacher[states] - own
        elif objective == "entropy":
            returns -= _to_go(drawn)
        elif objective == "expected_entropy":
            step -= own * (gap - here[:, None])
            returns -= _to_go(here) - here
        if reward_weight or objective == "rewards":
            if critic is None:
                earned = _to_go(gained)
            else:
                earned = gained + world.survival * ~over * critic[after] - critic[states]
            returns += (reward_weight or 1.0) * earned
        step -= own * returns[:, None]
        step[np.arange(len(states)), actions] += returns
        np.add.at(logits, states, rate * step)
        if episode % look == 0:
            looks.append(episode)
            counts.append(steps)
            paid.append(value_of(world, softmax(logits, axis=1)))
    return PolicyFit(logits, looks, counts, paid)


def _to_go(values: Table) -> Table:
    """The sum from each step to the end."""
    return values[::-1].cumsum()[::-1]


def visits(world: World, policy: Table) -> Table:
    """(states,): the mean number of actions in each state per episode of a policy."""
    return np.linalg.solve(np.eye(len(world)) - world.onward(policy).T, world.starts)


def expected_update(
    world: World, teacher: Table, logits: Table, control: Control = "student"
) -> Table:
    """(states, actions): the exact mean step of "cross_entropy", from visits."""
    check_choice(CONTROLS, control=control)
    own = softmax(logits, axis=1)
    player = {"student": own, "teacher": teacher, "uniform": np.full(own.shape, 1 / own.shape[1])}[
        control
    ]
    return visits(world, player)[:, None] * (teacher - own)


def asymmetry(
    world: World,
    teacher: Table,
    logits: Table,
    control: Control = "student",
    width: float = 1e-4,
) -> float:
    """The largest difference between the Jacobian of `expected_update` and its transpose.

    It is 0 if the update is the gradient of a function of the logits. It is computed by central
    differences.
    """
    flat = logits.ravel()

    def at(place: int, step: float) -> Table:
        moved = flat.copy()
        moved[place] += step
        return expected_update(world, teacher, moved.reshape(logits.shape), control).ravel()

    columns = [(at(n, width) - at(n, -width)) / (2 * width) for n in range(len(flat))]
    jacobian = np.stack(columns, 1)
    return float(np.abs(jacobian - jacobian.T).max())
