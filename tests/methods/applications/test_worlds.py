"""Worlds of tables of transitions, and environments of gymnasium: exact values against episodes that are played."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from kdnb.methods.applications import policy
from kdnb.methods.applications.worlds import SURVIVAL, draw_world, gymnasium_world

# In state 0, action 0 stays; action 1 pays 2 and goes on to state 1 with 0.75, else it pays 0 and ends. In state 1 all
# actions pay -1; action 1 ends.
TABLE = {
    0: {0: [(1.0, 0, 0.0, False)], 1: [(0.75, 1, 2.0, False), (0.25, 0, 0.0, True)]},
    1: {0: [(1.0, 0, -1.0, False)], 1: [(1.0, 1, -1.0, True)]},
}


def environment(table=TABLE, starts=(1.0, 0.0)):
    inner = SimpleNamespace(P=table, initial_state_distrib=np.array(starts))
    return SimpleNamespace(unwrapped=inner)


def test_values_of_a_table_by_hand():
    world = gymnasium_world(environment())
    assert (len(world), world.actions, world.survival) == (2, 2, SURVIVAL)
    ahead = np.array([[0.0, 1], [0, 1]])  # pays 1.5, and -1 from state 1
    assert policy.value_of(world, ahead) == pytest.approx(1.5 - SURVIVAL * 0.75)
    again = np.array([[0.0, 1], [1, 0]])  # and back to state 0
    expected = (1.5 - SURVIVAL * 0.75) / (1 - 0.75 * SURVIVAL**2)
    assert policy.value_of(world, again) == pytest.approx(expected)
    np.testing.assert_allclose(policy.best_policy(world), again)
    np.testing.assert_allclose(policy.visits(world, ahead), [1, 0.75 * SURVIVAL])
    other = gymnasium_world(environment(starts=(1, 3)))
    np.testing.assert_allclose(policy.value_of(other, ahead), 0.25 * (1.5 - SURVIVAL * 0.75) - 0.75)


def test_exact_values_and_visits_are_those_of_episodes():
    world = gymnasium_world(environment(starts=(0.5, 0.5)), survival=0.8)
    player = np.array([[0.3, 0.7], [0.6, 0.4]])
    stream = np.random.default_rng(0)
    episodes = [world.play(player, stream) for _ in range(6000)]
    paid = [one.rewards.sum() for one in episodes]
    assert np.mean(paid) == pytest.approx(policy.value_of(world, player), abs=0.08)
    seen = np.mean([np.bincount(one.states, minlength=2) for one in episodes], 0)
    np.testing.assert_allclose(seen, policy.visits(world, player), rtol=0.04)
    one = max(episodes, key=lambda episode: len(episode.states))
    assert not one.over[:-1].any() and (one.after[:-1] == one.states[1:]).all()


def test_a_student_of_a_table_learns_its_teacher():
    world = gymnasium_world(environment())
    teacher = np.array([[0.1, 0.9], [0.8, 0.2]])
    for control in policy.CONTROLS:
        fit = policy.distil_policy(world, teacher, control=control, episodes=300, rate=0.3)
        np.testing.assert_allclose(fit.policy, teacher, atol=0.05)
    critic = policy.values_of(world, teacher)
    fit = policy.distil_policy(world, teacher, episodes=300, rate=0.3, reward_weight=1.0, critic=critic)  # fmt: skip
    assert fit.values[-1] > policy.value_of(world, teacher)


def test_the_best_policy_waits_for_states_behind_the_first():
    """At first it seems best to pay 30 and leave from state 0; the better way leads through two states that improve first."""
    # (state that follows, pay, whether it ends) of three actions
    ways = {
        0: [(0, -1, False), (2, -30, True), (4, -1, False)],
        1: [(3, -1, False), (4, -1, False), (2, -1, False)],
        2: [(4, -1, False), (1, -1, False), (2, -30, False)],
        3: [(3, -1, False), (1, -30, False), (4, -1, True)],
        4: [(4, -1, False), (3, -1, False), (0, -1, False)],
    }
    table = {s: {a: [(1.0, *one)] for a, one in enumerate(row)} for s, row in ways.items()}
    world = gymnasium_world(environment(table, np.eye(5)[0]))
    best = policy.best_policy(world)
    assert policy.value_of(world, best) == pytest.approx(-1 - SURVIVAL - SURVIVAL**2)
    values = policy.values_of(world, best)
    np.testing.assert_allclose(values, policy.action_values(world, values).max(1))


def test_grids_and_tables_agree():
    grid = draw_world(3, side=5)
    share = 1 - grid.noise + grid.noise / 4
    table = {
        s: {
            way: [
                (share if other == way else grid.noise / 4, int(t), float(grid.rewards[t]), bool(grid.terminal[t]))
                for other, t in enumerate(grid.moves[s])
            ]
            for way in range(4)
        }
        for s in range(len(grid))
    }  # fmt: skip
    same = gymnasium_world(environment(table, grid.starts))
    player = np.random.default_rng(0).dirichlet(np.ones(4), len(grid))
    for of in (policy.values_of, policy.visits):
        np.testing.assert_allclose(of(same, player), of(grid, player))
    values = policy.values_of(grid, player)
    np.testing.assert_allclose(same.action_values(values), grid.action_values(values))


def test_wrong_arguments():
    world = gymnasium_world(environment())
    with pytest.raises(ValueError, match=r"teacher must be \(2, 2\) probabilities"):
        policy.distil_policy(world, np.full((2, 4), 0.25))
    with pytest.raises(ValueError, match="publishes no table"):
        gymnasium_world(SimpleNamespace(unwrapped=SimpleNamespace()))
    with pytest.raises(ValueError, match="survival"):
        gymnasium_world(environment(), survival=0.0)


def test_without_gymnasium_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(RuntimeError, match=r"pip install 'kdnb\[games\]'"):
        gymnasium_world("FrozenLake-v1")


# --- with gymnasium -----------------------------------------------------------------------------------


@pytest.fixture
def gymnasium():
    return pytest.importorskip("gymnasium", reason="gymnasium, the extra kdnb[games], is missing")


def test_an_environment_does_what_its_world_says(gymnasium):
    """The rewards and ends of episodes of gymnasium's own, by its own random numbers."""
    made = gymnasium.make("FrozenLake-v1", is_slippery=True).unwrapped
    world = gymnasium_world(made, survival=1.0)
    stream, total, episodes = np.random.default_rng(0), 0.0, 3000
    made.reset(seed=0)
    for _ in range(episodes):
        made.reset()
        over = False
        while not over:
            _, reward, over, _, _ = made.step(int(stream.integers(4)))
            total += reward
    uniform = np.full((len(world), 4), 0.25)
    assert total / episodes == pytest.approx(policy.value_of(world, uniform), abs=0.01)


def test_a_student_learns_to_walk_along_the_cliff(gymnasium):
    world = gymnasium_world("CliffWalking-v1")
    best = policy.best_policy(world)
    # Thirteen moves at -1 each, unless the episode ends before.
    assert policy.value_of(world, best) == pytest.approx(-(1 - SURVIVAL**13) / (1 - SURVIVAL))
    fit = policy.distil_policy(world, best, episodes=200, rate=1.0, look=50)
    assert fit.values[0] < -500 and fit.values[-1] > -16


def test_environments_without_a_table_are_refused(gymnasium):
    with pytest.raises(ValueError, match="CartPoleEnv publishes no table"):
        gymnasium_world("CartPole-v1")
