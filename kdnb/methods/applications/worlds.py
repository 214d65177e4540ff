"""Worlds that policies act in: random grids (Czarnecki et al. 2019), and environments of gymnasium.

All have few enough states to compute the value of a policy exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kdnb.losses.checks import check_number

if TYPE_CHECKING:
    import gymnasium

Table = NDArray[np.float64]
SURVIVAL = 0.99  # an episode ends after each action with probability 0.01, as in the paper


class Episode(NamedTuple):
    """The course of an episode, action by action; all arrays have the same length.

    Attributes:
        states, actions: the states and the actions taken there.
        after: the states that followed.
        rewards: the rewards received.
        over: whether the world ended the episode there.
    """

    states: NDArray[np.int64]
    actions: NDArray[np.int64]
    after: NDArray[np.int64]
    rewards: Table
    over: NDArray[np.bool_]


class World(Protocol):
    """The interface of worlds for :mod:`kdnb.methods.applications.policy`.

    The length of a world is its number of states.

    Attributes:
        actions: the number of actions.
        survival: the probability that an episode goes on after an action that does not end it.
        starts: (states,) the probability that an episode starts in each.
    """

    survival: float

    def __len__(self) -> int: ...

    @property
    def actions(self) -> int: ...

    @property
    def starts(self) -> Table: ...

    def onward(self, policy: Table) -> Table:
        """(states, states): the probabilities of continuing in each state after one action."""
        ...

    def gains(self, policy: Table) -> Table:
        """(states,): the mean reward of one action of a policy."""
        ...

    def action_values(self, values: Table) -> Table:
        """(states, actions): the value of each action, given the `values` (states,) that follow."""
        ...

    def play(self, policy: Table, stream: np.random.Generator) -> Episode:
        """An episode of a policy."""
        ...

    def check_policy(self, **policy: Table) -> None:
        """Raise a ValueError for a table of a wrong shape."""
        ...


@dataclass(frozen=True, eq=False)
class GridWorld:
    """A world of free cells, the states. Its four actions are up, down, left and right.

    Attributes:
        cells: (states, 2) row and column of each state.
        moves: (states, 4) the state that going up, down, left or right leads to.
        rewards: (states,) the reward for entering a state.
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
    survival: float = SURVIVAL

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def actions(self) -> int:
        return 4

    @property
    def starts(self) -> Table:
        return np.eye(len(self))[self.start]

    def transitions(self, policy: Table) -> Table:
        """(states, states): a policy's transition probabilities; action a moves as a modulo 4."""
        shares = np.stack([policy[:, way::4].sum(1) for way in range(4)], 1)
        shares = (1 - self.noise) * shares + self.noise / 4
        made = np.zeros((len(self), len(self)))
        for way in range(4):
            np.add.at(made, (np.arange(len(self)), self.moves[:, way]), shares[:, way])
        return made

    def onward(self, policy: Table) -> Table:
        return self.transitions(policy) * (self.survival * ~self.terminal)

    def gains(self, policy: Table) -> Table:
        return self.transitions(policy) @ self.rewards

    def action_values(self, values: Table) -> Table:
        after = self.rewards + self.survival * ~self.terminal * values
        each = after[self.moves]
        return (1 - self.noise) * each + self.noise * each.mean(1, keepdims=True)

    def play(self, policy: Table, stream: np.random.Generator) -> Episode:
        bounds = policy.cumsum(1)
        state, states, actions, after = self.start, [], [], []
        while True:
            pick, slip, end, way = stream.random(4).tolist()
            row = bounds[state]
            action = min(int(row.searchsorted(pick * row[-1], "right")), len(row) - 1)
            goes = int(4 * way) if slip < self.noise else action % 4
            states.append(state)
            actions.append(action)
            state = int(self.moves[state, goes])
            after.append(state)
            if self.terminal[state] or end > self.survival:
                there = np.array(after)
                paid, over = self.rewards[there], self.terminal[there]
                return Episode(np.array(states), np.array(actions), there, paid, over)

    def check_policy(self, **policy: Table) -> None:
        ((name, table),) = policy.items()
        if table.ndim != 2 or len(table) != len(self) or table.shape[1] % 4:
            raise ValueError(
                f"{name} must be ({len(self)}, 4 or a multiple) probabilities; got {table.shape}."
            )


def draw_world(
    seed: int, *, side: int = 20, walls: float = 0.2, goals: int = 4, noise: float = 0.1
) -> GridWorld:
    """Draw a random grid of walls, goals that pay 1 to 10, and a trap that costs 5; all are final.

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


@dataclass(frozen=True, eq=False)
class TabularWorld:
    """A world given by a table of outcomes of actions, like gymnasium's small environments.

    Attributes:
        chances: (states, actions, outcomes) probabilities of what may follow; they sum to 1.
        after: of the same shape, the states that follow.
        rewards: of the same shape, the rewards.
        over: of the same shape, whether the episode ends.
        starts: (states,) the probability that an episode starts in each.
        survival: the probability that an episode goes on after an action that does not end it.
    """

    chances: Table
    after: NDArray[np.int64]
    rewards: Table
    over: NDArray[np.bool_]
    starts: Table
    survival: float = SURVIVAL

    def __len__(self) -> int:
        return len(self.chances)

    @property
    def actions(self) -> int:
        return self.chances.shape[1]

    def onward(self, policy: Table) -> Table:
        made = np.zeros((len(self), len(self)))
        weights = self.survival * policy[:, :, None] * self.chances * ~self.over
        np.add.at(made, (np.arange(len(self))[:, None, None], self.after), weights)
        return made

    def gains(self, policy: Table) -> Table:
        return (policy[:, :, None] * self.chances * self.rewards).sum((1, 2))

    def action_values(self, values: Table) -> Table:
        onward = self.survival * ~self.over * values[self.after]
        return (self.chances * (self.rewards + onward)).sum(2)

    def play(self, policy: Table, stream: np.random.Generator) -> Episode:
        bounds, ends = policy.cumsum(1), self.chances.cumsum(2)
        state = int(stream.choice(len(self), p=self.starts))
        states, actions, outcomes = [], [], []
        while True:
            pick, which, end = stream.random(3).tolist()
            action = _drawn(bounds[state], pick)
            outcome = _drawn(ends[state, action], which)
            states.append(state)
            actions.append(action)
            outcomes.append(outcome)
            if self.over[state, action, outcome] or end > self.survival:
                seen = np.array(states), np.array(actions), np.array(outcomes)
                return Episode(*seen[:2], *(one[seen] for one in (self.after, self.rewards, self.over)))  # fmt: skip
            state = int(self.after[state, action, outcome])

    def check_policy(self, **policy: Table) -> None:
        ((name, table),) = policy.items()
        if table.shape != (len(self), self.actions):
            raise ValueError(
                f"{name} must be ({len(self)}, {self.actions}) probabilities; got {table.shape}."
            )


def _drawn(bounds: Table, pick: float) -> int:
    """The index of a number from 0 to 1 among cumulative probabilities."""
    return min(int(bounds.searchsorted(pick * bounds[-1], "right")), len(bounds) - 1)


def gymnasium_world(
    environment: str | gymnasium.Env, *, survival: float = SURVIVAL, **options: Any
) -> TabularWorld:
    """The world of a gymnasium environment with a transition table, as in `toy_text`.

    Args:
        environment: a name such as "FrozenLake-v1", "CliffWalking-v1" or "Taxi-v4", or an
            environment.
        survival: the probability that an episode continues after an action. It replaces gymnasium's
            time limit, with which values would depend on the remaining time.
        options: passed to `gymnasium.make`, such as `map_name="8x8"`.

    Raises:
        RuntimeError: if gymnasium is not installed.
        ValueError: for an environment without a table of states (`P`), such as CartPole.
    """
    check_number(above=0, most=1, survival=survival)
    if isinstance(environment, str):
        try:
            import gymnasium
        except ImportError as missing:
            raise RuntimeError(
                f"environments need gymnasium ({missing}): install it with `pip install 'kdnb[games]'`."
            ) from missing
        environment = gymnasium.make(environment, **options)
    inner = environment.unwrapped
    table, starts = getattr(inner, "P", None), getattr(inner, "initial_state_distrib", None)
    if table is None or starts is None:
        raise ValueError(
            f"{type(inner).__name__} publishes no table of its states (P, initial_state_distrib); "
            "FrozenLake, CliffWalking and Taxi do."
        )
    states, actions = len(table), len(table[0])
    most = max(len(table[s][a]) for s in range(states) for a in range(actions))
    chances, rewards = np.zeros((2, states, actions, most))
    after = np.zeros((states, actions, most), dtype=np.int64)
    over = np.zeros((states, actions, most), dtype=bool)
    for s in range(states):
        for a in range(actions):
            for n, (chance, state, reward, ends) in enumerate(table[s][a]):
                chances[s, a, n], after[s, a, n] = chance, state
                rewards[s, a, n], over[s, a, n] = reward, ends
    first = np.asarray(starts, dtype=np.float64)
    return TabularWorld(chances, after, rewards, over, first / first.sum(), survival)
