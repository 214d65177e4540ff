"""Grid worlds with exact values, and what the updates of policy distillation are."""

import numpy as np
import pytest
from scipy.special import softmax

from kdnb.methods.applications.policy import (
    SURVIVAL,
    GridWorld,
    asymmetry,
    best_policy,
    distil_policy,
    draw_world,
    expected_update,
    q_learning,
    softened,
    value_of,
    values_of,
    visits,
)

WORLD = draw_world(3, side=6)
UNIFORM = np.full((len(WORLD), 4), 0.25)


def corridor(noise=0.0):
    """Three cells in a row; the last one pays 10 and ends the episode."""
    cells = np.array([[0, 0], [0, 1], [0, 2]])
    moves = np.array([[0, 0, 0, 1], [1, 1, 0, 2], [2, 2, 1, 2]])
    return GridWorld(cells, moves, np.array([0.0, 0, 10]), np.array([False, False, True]), 0, noise)


def always(way, states=3):
    return np.eye(4)[np.full(states, way)]


def test_worlds_have_no_walls_as_states_and_moves_that_are_next_door():
    world = draw_world(1, side=9, walls=0.3, goals=3)
    apart = np.abs(world.cells[world.moves] - world.cells[:, None]).sum(2)
    assert set(apart.ravel()) <= {0, 1} and world.terminal.sum() == 4
    assert tuple(world.cells[world.start]) == (4, 4) and not world.terminal[world.start]
    assert min(world.rewards[world.terminal]) == -5 and world.rewards[~world.terminal].max() == 0  # fmt: skip
    assert draw_world(1, side=9).moves.shape == draw_world(1, side=9).moves.shape
    assert not np.array_equal(draw_world(1).cells, draw_world(2).cells)


def test_transitions_are_probabilities_and_actions_repeat_modulo_four():
    policy = softmax(np.random.default_rng(0).normal(size=(len(WORLD), 4)), axis=1)
    made = WORLD.transitions(policy)
    np.testing.assert_allclose(made.sum(1), 1)
    twice = np.concatenate([policy / 2, policy / 2], 1)
    np.testing.assert_allclose(WORLD.transitions(twice), made)


def test_values_of_a_corridor_by_hand():
    world = corridor()
    assert value_of(world, always(3)) == pytest.approx(SURVIVAL * 10)
    assert value_of(world, always(0)) == 0
    noisy = corridor(0.4)  # right with 0.7, and a third direction each with 0.1
    v1 = 7 / (1 - SURVIVAL * 0.2 - SURVIVAL**2 * 0.1 * 0.7 / (1 - SURVIVAL * 0.3))
    expected = SURVIVAL * 0.7 * v1 / (1 - SURVIVAL * 0.3)
    assert value_of(noisy, always(3)) == pytest.approx(expected)


def test_exact_values_are_those_of_many_episodes():
    world, stream = draw_world(3, side=5), np.random.default_rng(0)
    total, episodes = 0.0, 4000
    for _ in range(episodes):
        state = world.start
        while True:
            way = stream.integers(4)
            state = world.moves[state, way]
            total += world.rewards[state]
            if world.terminal[state] or stream.random() > SURVIVAL:
                break
    assert total / episodes == pytest.approx(value_of(world, np.full((len(world), 4), 0.25)), abs=0.25)  # fmt: skip


def test_no_policy_beats_the_best():
    best = best_policy(WORLD)
    top = values_of(WORLD, best)
    stream = np.random.default_rng(0)
    for _ in range(20):
        other = softmax(3 * stream.normal(size=(len(WORLD), 4)), axis=1)
        assert (values_of(WORLD, other) <= top + 1e-9).all()
    learnt = softened(q_learning(WORLD, 20000, seed=1), 0.1)
    assert value_of(WORLD, UNIFORM) < value_of(WORLD, learnt) <= value_of(WORLD, best) + 1e-9
    assert value_of(WORLD, learnt) > 0.7 * value_of(WORLD, best)


def test_visits_count_the_steps_of_an_episode():
    world = corridor()
    np.testing.assert_allclose(visits(world, always(3)), [1, SURVIVAL, SURVIVAL * 0])
    policy = np.full((len(WORLD), 4), 0.25)
    pays = WORLD.transitions(policy) @ WORLD.rewards
    assert visits(WORLD, policy) @ pays == pytest.approx(value_of(WORLD, policy))


def test_the_mean_update_is_that_of_many_episodes():
    world = draw_world(5, side=4)
    teacher = softmax(np.random.default_rng(0).normal(size=(len(world), 4)), axis=1)
    for control in ("student", "teacher", "uniform"):
        steps = [distil_policy(world, teacher, control=control, episodes=1, rate=1.0, look=1, seed=n).logits for n in range(1500)]  # fmt: skip
        expected = expected_update(world, teacher, np.zeros_like(teacher), control)
        error = np.abs(np.mean(steps, 0) - expected).max()
        assert error < 5 * (np.std(steps, 0) / 1500**0.5).max()


def test_only_the_students_own_play_makes_an_update_that_is_no_gradient():
    world = draw_world(5, side=3, walls=0.0, goals=1)
    stream = np.random.default_rng(0)
    teacher, logits = softmax(stream.normal(size=(9, 4)), axis=1), stream.normal(size=(9, 4))
    assert asymmetry(world, teacher, logits, "student") > 1e-3
    for control in ("teacher", "uniform"):
        assert asymmetry(world, teacher, logits, control) < 1e-9
    at_teacher = np.log(teacher)
    assert np.abs(expected_update(world, teacher, at_teacher)).max() < 1e-12


def test_both_entropy_objectives_have_the_gradient_of_the_episodes_divergence():
    """The mean of many first steps against a difference quotient of the exact divergence."""
    world = draw_world(5, side=3, walls=0.0, goals=1)
    teacher = softmax(0.5 * np.random.default_rng(0).normal(size=(9, 4)), axis=1)

    def divergence(flat):
        own = softmax(flat.reshape(9, 4), axis=1)
        return visits(world, own) @ (own * (np.log(own) - np.log(teacher))).sum(1)

    zero = np.zeros(36)
    slope = np.array([(divergence(zero + d) - divergence(zero - d)) / 2e-4 for d in 1e-4 * np.eye(36)])  # fmt: skip
    spread = []
    for objective in ("entropy", "expected_entropy"):
        steps = [distil_policy(world, teacher, objective=objective, episodes=1, rate=1.0, look=1, seed=n).logits.ravel() for n in range(3000)]  # fmt: skip
        error = np.abs(np.mean(steps, 0) + slope)
        assert (error < 5 * np.std(steps, 0) / 3000**0.5 + 1e-6).all()
        spread.append(np.var(steps, 0).sum())
    assert spread[1] < spread[0]  # what the expected form is for


def test_a_student_learns_its_teacher_and_rewards_improve_on_a_bad_one():
    teacher = softened(q_learning(WORLD, 20000, seed=1), 0.1)
    top = value_of(WORLD, teacher)
    fit = distil_policy(WORLD, teacher, episodes=300, rate=0.3, seed=1)
    assert fit.values[0] < 0.7 * top < 0.95 * top < fit.values[-1]
    assert value_of(WORLD, fit.policy) == pytest.approx(fit.values[-1])
    assert fit.episodes[-1] == 300 and fit.steps == sorted(fit.steps)
    bad = 0.5 * teacher + 0.125
    critic = values_of(WORLD, bad)
    own = [
        distil_policy(WORLD, bad, episodes=300, rate=0.3, reward_weight=weight, critic=critic if weight else None, seed=1).values[-1]
        for weight in (0.0, 1.0)
    ]  # fmt: skip
    assert own[0] == pytest.approx(value_of(WORLD, bad), rel=0.1) and own[1] > 1.05 * own[0]


def test_wrong_arguments():
    with pytest.raises(ValueError, match='objective "entropy" needs control="student"'):
        distil_policy(WORLD, UNIFORM, objective="entropy", control="teacher")
    with pytest.raises(ValueError, match=r"teacher must be \(\d+, 4 or a multiple\)"):
        distil_policy(WORLD, UNIFORM[:, :3])
    with pytest.raises(ValueError, match='control must be "student", "teacher" or "uniform"'):
        distil_policy(WORLD, UNIFORM, control="nobody")
    with pytest.raises(ValueError, match="too few for 8 goals"):
        draw_world(0, side=3, goals=8)


def test_expected_updates_are_exact_for_more_than_four_actions():
    """Random play is a policy: its visits do not change when each action is there twice."""
    teacher, logits = np.repeat(UNIFORM, 2, 1) / 2, np.zeros((len(WORLD), 8))
    teacher[:, 0], teacher[:, 1:] = 0.3, 0.1
    found = expected_update(WORLD, teacher, logits, "uniform")
    np.testing.assert_allclose(found, visits(WORLD, UNIFORM)[:, None] * (teacher - 1 / 8))
