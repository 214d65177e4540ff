"""The reward against plain numbers, and a policy gradient that is that of the expected reward."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import compression_reward, policy_gradient


def test_the_reward_against_plain_numbers():
    sizes, right, whole, best = [10, 50, 100, 130], [0.3, 0.8, 0.9, 0.95], 100, 0.9
    expected = []
    for size, share in zip(sizes, right, strict=True):
        c = 1 - size / whole
        expected.append((c + c - c * c) * share / best)
    got = compression_reward(
        torch.tensor(right, dtype=torch.float64),
        1 - torch.tensor(sizes, dtype=torch.float64) / whole, best,
    )  # fmt: skip
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))
    assert got[2] == 0 and got[3] < 0  # as large as the teacher, and larger


def test_the_last_parameters_that_go_are_worth_nothing():
    share = torch.linspace(0, 1, 11, dtype=torch.float64, requires_grad=True)
    reward = compression_reward(torch.full((11,), 0.9, dtype=torch.float64), share, 0.9)
    (slope,) = torch.autograd.grad(reward.sum(), share)
    torch.testing.assert_close(slope, 2 - 2 * share.detach())
    assert reward[0] == 0 and reward[-1].item() == pytest.approx(1)


def test_the_policy_gradient_against_a_loop():
    logs, rewards = -draw(6).abs(), draw(6, seed=1)
    expected = -sum((r - 0.3) * p for r, p in zip(rewards.tolist(), logs.tolist(), strict=True)) / 6
    assert policy_gradient(logs, rewards, 0.3).item() == pytest.approx(expected)
    shared = sum(rewards.tolist()) / 6 - 0.3
    expected = -sum(shared * p for p in logs.tolist()) / 6
    assert policy_gradient(logs, rewards, 0.3, "authors").item() == pytest.approx(expected)


@pytest.mark.parametrize("baseline", [0.0, 1.7])
def test_in_expectation_it_is_the_gradient_of_the_expected_reward(baseline):
    """Summed over all choices with their probabilities, whatever the baseline."""
    scores, rewards = draw(5).requires_grad_(), draw(5, seed=1)
    p = scores.softmax(0)
    (wanted,) = torch.autograd.grad((p * rewards).sum(), scores, retain_graph=True)
    logs, found = scores.log_softmax(0), torch.zeros_like(scores)
    for choice in range(5):
        one = policy_gradient(logs[choice : choice + 1], rewards[choice : choice + 1], baseline)
        (gradient,) = torch.autograd.grad(one, scores, retain_graph=True)
        found -= p[choice].detach() * gradient
    torch.testing.assert_close(found, wanted)


def test_gradients_flow_into_the_policy_alone():
    logs, rewards = (-draw(4).abs()).requires_grad_(), draw(4, seed=1).requires_grad_()
    policy_gradient(logs, rewards, 0.2).backward()
    assert rewards.grad is None
    torch.testing.assert_close(logs.grad, -(rewards.detach() - 0.2) / 4)
    assert gradcheck(lambda a, c: compression_reward(a, c, 0.8), (rewards, logs))


def test_with_equal_rewards_the_authors_form_is_the_papers():
    logs, equal = -draw(4).abs(), torch.full((4,), 0.7, dtype=torch.float64)
    torch.testing.assert_close(
        policy_gradient(logs, equal, 0.1), policy_gradient(logs, equal, 0.1, "authors")
    )


def test_extreme_numbers():
    logs = torch.tensor([-1e4, -1e-30, 0.0])
    assert policy_gradient(logs, torch.tensor([1e6, -1e6, 0.0])).isfinite()
    assert compression_reward(torch.zeros(2), torch.tensor([-1e6, 1.0]), 1e-6).isfinite().all()
    assert policy_gradient(logs, torch.tensor([1.0, math.nan, 0.0])).isnan()


def test_wrong_arguments():
    with pytest.raises(
        ValueError, match=r"as many of each; got accuracy \(2,\) and compression \(3,\)"
    ):
        compression_reward(torch.ones(2), torch.ones(3), 0.9)
    with pytest.raises(ValueError, match="teacher_accuracy must be a finite number above 0; got 0"):
        compression_reward(torch.ones(2), torch.ones(2), 0)
    with pytest.raises(ValueError, match=r"log_probabilities \(2,\) and rewards \(1,\)"):
        policy_gradient(torch.ones(2), torch.ones(1))
    with pytest.raises(ValueError, match="baseline must be a finite number; got nan"):
        policy_gradient(torch.ones(2), torch.ones(2), math.nan)
    with pytest.raises(ValueError, match='variant must be "paper" or "authors"'):
        policy_gradient(torch.ones(2), torch.ones(2), 0.0, "mean")
