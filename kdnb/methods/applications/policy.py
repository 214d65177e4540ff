"""Policy distillation (Rusu et al. 2016, Czarnecki et al. 2019): a student learns how a teacher acts.

The worlds are grids with walls, few enough states for exact values. A policy is a table (states, actions) of
probabilities; a student is the table of its logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from kdnb.losses.checks import check_choice, check_number

Table = NDArray[np.float64]
Control = Literal["student", "teacher", "uniform"]
Objective = Literal["cross_entropy", "entropy", "expected_entropy", "rewards"]
CONTROLS = ("student", "teacher", "uniform")
OBJECTIVES = ("cross_entropy", "entropy", "expected_entropy", "rewards")
SURVIVAL = 0.99  # an episode ends after each action with probability 0.01, as in the paper


@dataclass(frozen=True, eq=False)
class GridWorld:
    """A world of free cells; walls are no states.

    Attributes:
        cells: (states, 2) row and column of each state.
        moves: (states, 4) the state that going up, down, left or right leads to.
        rewards: (states,) what entering a state pays.
        terminal: (states,) whether entering a state ends the episode.
        start: the state in the middle.
        noise: the probability that a move goes into a random direction instead.
    """

    cells: NDArray[np.int64]
    moves: NDArray[np.int64]
    rewards: Table
    terminal: NDArray[np.bool_]
    start: int
    noise: float

    def __len__(self) -> int:
        return len(self.cells)

    def transitions(self, policy: Table) -> Table:
        """(states, states): where a policy leads in one action; action a moves as action a modulo 4."""
        shares = np.stack([policy[:, way::4].sum(1) for way in range(4)], 1)
        shares = (1 - self.noise) * shares + self.noise / 4
        made = np.zeros((len(self), len(self)))
        for way in range(4):
            np.add.at(made, (np.arange(len(self)), self.moves[:, way]), shares[:, way])
        return made


def draw_world(
    seed: int, *, side: int = 20, walls: float = 0.2, goals: int = 4, noise: float = 0.1
) -> GridWorld:
    """A random grid: walls, goals that pay 1 to 10, and a trap that costs 5; all of these end an episode.

    Args:
        seed: the same world for the same seed.
        side: cells in a row, at least 3.
        walls: the probability of a wall; the middle cell is always free.
        goals: how many.
        noise: the probability that a move goes into a random direction instead.
    """
    check_number(least=3, whole=True, side=side)
    check_number(least=1, whole=True, goals=goals)
    check_number(least=0, most=1, walls=walls, noise=noise)
    stream = np.random.default_rng(seed)
    free = stream.random((side, side)) >= walls
    middle = side // 2
    free[middle, middle] = True
    cells = np.argwhere(free)
    if len(cells) < goals + 2:
        raise ValueError(f"the world has {len(cells)} free cells, too few for {goals} goals.")
    number = np.full((side + 2, side + 2), -1)
    number[tuple(cells.T + 1)] = np.arange(len(cells))
    own = np.arange(len(cells))
    moves = np.stack([number[tuple((cells + 1 + step).T)] for step in ((-1, 0), (1, 0), (0, -1), (0, 1))], 1)  # fmt: skip
    moves = np.where(moves < 0, own[:, None], moves)  # into a wall: no move
    start = int(number[middle + 1, middle + 1])
    places = stream.permutation(np.delete(own, start))[: goals + 1]
    rewards, terminal = np.zeros(len(cells)), np.zeros(len(cells), dtype=bool)
    rewards[places[:-1]] = stream.integers(1, 11, goals)
    rewards[places[-1]] = -5
    terminal[places] = True
    return GridWorld(cells, moves, rewards, terminal, start, noise)


def value_of(world: GridWorld, policy: Table) -> float:
    """What an episode of a policy pays on average, exactly."""
    return float(values_of(world, policy)[world.start])


def values_of(world: GridWorld, policy: Table) -> Table:
    """(states,): what an episode of a policy that starts in each state pays on average, exactly."""
    through = world.transitions(policy)
    onward = through * (SURVIVAL * ~world.terminal)
    return np.linalg.solve(np.eye(len(world)) - onward, through @ world.rewards)


def best_policy(world: GridWorld) -> Table:
    """(states, 4): a policy that no other one beats, by policy iteration."""
    policy = np.full((len(world), 4), 0.25)
    while True:
        better = np.eye(4)[_action_values(world, values_of(world, policy)).argmax(1)]
        certain = set(policy.flat) <= {0, 1}
        if certain and value_of(world, better) <= value_of(world, policy) + 1e-12:
            return policy
        policy = better


def _action_values(world: GridWorld, values: Table) -> Table:
    """(states, 4): what each move pays, if `values` follow."""
    after = world.rewards + SURVIVAL * ~world.terminal * values
    each = after[world.moves]
    return (1 - world.noise) * each + world.noise * each.mean(1, keepdims=True)


def q_learning(
    world: GridWorld, steps: int, *, rate: float = 0.1, exploration: float = 0.2, seed: int = 0
) -> Table:
    """(states, 4) values of actions, learnt from so many steps of epsilon-greedy play."""
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
    """The policy softmax(Q / T); Rusu et al. use a T far below 1, as Q differ little."""
    check_number(above=0, temperature=temperature)
    return softmax(values / temperature, axis=1)


@dataclass(frozen=True)
class PolicyFit:
    """A student, and how it became one.

    Attributes:
        logits: (states, actions) in the end.
        episodes, steps, values: at each look: episodes and actions so far, and what the student's
            episodes then paid on average, exactly. The first look is before any episode.
    """

    logits: Table
    episodes: list[int]
    steps: list[int]
    values: list[float]

    @property
    def policy(self) -> Table:
        return softmax(self.logits, axis=1)


def distil_policy(
    world: GridWorld,
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
    r"""A tabular student of a teacher's policy; after every episode one step along (Czarnecki 2019)

    .. math:: \mathrm E_{\tau \sim q} \Big[ \sum_t \nabla \log \pi_\theta(a_t | s_t)\, \hat R_t
        - \nabla \ell(s_t) \Big], \qquad \hat R_t = \sum_{i \ge t} \hat r_i .

    The episode :math:`\tau` is played by the control policy q.

    - "cross_entropy": :math:`\ell = H(\pi, \pi_\theta)` and :math:`\hat r = 0`. With q = the teacher's
      policy it is the gradient of a function of the student; with the student's own it is not.
    - "entropy": :math:`\hat r_t = \log \pi(a_t|s_t) - \log \pi_\theta(a_t|s_t)` and :math:`\ell = 0`, an estimate of
      the gradient of the divergence of whole episodes by the actions that were drawn.
    - "expected_entropy": :math:`\ell = \mathrm{KL}(\pi_\theta(s_t) \| \pi(s_t))` over all actions, and
      :math:`\hat R_t = -\sum_{i > t} \ell(s_i)`: the same gradient on average.
    - "rewards": :math:`\ell = 0`, :math:`\hat r = 0`: only the world's rewards teach.

    Args:
        world: where episodes are played.
        teacher: (states, actions) probabilities; action a moves as a modulo 4.
        control: who plays; all objectives but "cross_entropy" need the student.
        episodes: how many.
        rate: of the steps.
        reward_weight: the world's rewards times this number are added to :math:`\hat r`.
        critic: (states,) values that rewards are measured against: the reward then is
            :math:`r + V(s') - V(s)`, of which only this step's counts, no later one's.
        look: the student is judged after every so many episodes.
        seed: of the episodes.

    Returns:
        A `PolicyFit`. The student starts with equal probabilities.

    Departures: the update and the controls were read in a public notebook about the paper; the forms of the two
    entropy objectives are recalled.
    """
    check_choice(CONTROLS, control=control)
    check_choice(OBJECTIVES, objective=objective)
    check_number(least=1, whole=True, episodes=episodes, look=look)
    check_number(above=0, rate=rate)
    check_number(least=0, reward_weight=reward_weight)
    if objective != "cross_entropy" and control != "student":
        raise ValueError(f'objective "{objective}" needs control="student"; got "{control}".')
    if teacher.ndim != 2 or len(teacher) != len(world) or teacher.shape[1] % 4:
        raise ValueError(
            f"teacher must be ({len(world)}, 4 or a multiple) probabilities; got {teacher.shape}."
        )
    stream = np.random.default_rng(seed)
    logits = np.zeros(teacher.shape)
    log_teacher = np.log(np.maximum(teacher, 1e-300))
    uniform = np.full(teacher.shape, 1 / teacher.shape[1])
    looks, paid, counts, steps = [0], [value_of(world, uniform)], [0], 0
    for episode in range(1, episodes + 1):
        log_p = log_softmax(logits, axis=1)
        p = np.exp(log_p)
        states, actions, after = _play(
            world, {"student": p, "teacher": teacher, "uniform": uniform}[control], stream
        )
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
            gained = world.rewards[after]
            if critic is None:
                earned = _to_go(gained)
            else:
                over = world.terminal[after]
                earned = gained + SURVIVAL * ~over * critic[after] - critic[states]
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


def _play(world: GridWorld, policy: Table, stream: np.random.Generator) -> tuple:
    """One episode: the states, the actions there, and the states after them."""
    bounds = policy.cumsum(1)
    state, states, actions, after = world.start, [], [], []
    while True:
        pick, slip, end, way = stream.random(4).tolist()
        row = bounds[state]
        action = min(int(row.searchsorted(pick * row[-1], "right")), len(row) - 1)
        goes = int(4 * way) if slip < world.noise else action % 4
        states.append(state)
        actions.append(action)
        state = int(world.moves[state, goes])
        after.append(state)
        if world.terminal[state] or end > SURVIVAL:
            return np.array(states), np.array(actions), np.array(after)


def visits(world: GridWorld, policy: Table) -> Table:
    """(states,): how often an episode of a policy acts in each state, on average."""
    onward = world.transitions(policy) * (SURVIVAL * ~world.terminal)
    first = np.eye(len(world))[world.start]
    return np.linalg.solve(np.eye(len(world)) - onward.T, first)


def expected_update(
    world: GridWorld, teacher: Table, logits: Table, control: Control = "student"
) -> Table:
    """(states, actions): the mean step of "cross_entropy", exactly: by visits, teacher minus student."""
    check_choice(CONTROLS, control=control)
    own = softmax(logits, axis=1)
    player = {"student": own, "teacher": teacher, "uniform": np.full(own.shape, 1 / own.shape[1])}[
        control
    ]
    return visits(world, player)[:, None] * (teacher - own)


def asymmetry(
    world: GridWorld,
    teacher: Table,
    logits: Table,
    control: Control = "student",
    width: float = 1e-4,
) -> float:
    """The largest difference of the Jacobian of `expected_update` and its transpose.

    It is 0 where the update is the gradient of some function of the logits. By central differences.
    """
    flat = logits.ravel()

    def at(place: int, step: float) -> Table:
        moved = flat.copy()
        moved[place] += step
        return expected_update(world, teacher, moved.reshape(logits.shape), control).ravel()

    columns = [(at(n, width) - at(n, -width)) / (2 * width) for n in range(len(flat))]
    jacobian = np.stack(columns, 1)
    return float(np.abs(jacobian - jacobian.T).max())
