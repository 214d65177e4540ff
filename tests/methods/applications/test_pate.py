"""PATE: votes, the noise that hides a single one, and what answers cost."""

import math

import pytest
import torch
from torch import nn

from kdnb.methods.applications.pate import noisy_votes, privacy_cost, votes_of


class Fixed(nn.Module):
    def __init__(self, choice):
        super().__init__()
        self.choice = choice

    def forward(self, inputs):
        return torch.eye(3)[torch.full((len(inputs),), self.choice)]


def test_votes_are_counted():
    votes = votes_of([Fixed(0), Fixed(2), Fixed(2)], torch.zeros(4, 1))
    assert votes.tolist() == [[1, 0, 2]] * 4


def test_little_noise_is_the_plurality_and_much_noise_is_chance():
    votes = torch.tensor([[1, 7, 2]]).expand(9000, 3)
    assert noisy_votes(votes, 100.0).eq(1).all()
    shares = noisy_votes(votes, 1e-4, seed=3).bincount(minlength=3) / 9000
    assert (shares - 1 / 3).abs().max() < 0.03


def test_one_vote_changes_an_answers_odds_by_at_most_twice_the_inverse_scale():
    gamma, n = 0.5, 200000
    shares = [
        noisy_votes(torch.tensor(votes).expand(n, 2), gamma, seed).eq(0).double().mean().item()
        for seed, votes in enumerate(([4, 5], [5, 4]))
    ]
    assert 1 < shares[1] / shares[0] < math.exp(2 * gamma)


def test_noise_has_the_laplace_spread():
    gamma, n = 0.2, 100000
    wins = noisy_votes(torch.tensor([[3, 0]]).expand(n, 2), gamma, 1).eq(0).double().mean().item()
    x = 3 * gamma  # P[difference of two Laplace variables > -3], by hand
    assert wins == pytest.approx(1 - math.exp(-x) * (2 + x) / 4, abs=0.01)


def test_costs():
    assert privacy_cost(1, 0.05) == pytest.approx(0.1)
    assert privacy_cost(1000, 0.05) < 1000 * 0.1
    costs = [privacy_cost(n, 0.05) for n in (1, 10, 100, 1000)]
    assert costs == sorted(costs)
    with pytest.raises(ValueError, match="inverse_scale must be a finite number above 0"):
        noisy_votes(torch.ones(1, 2), 0.0)


def test_teachers_vote_in_eval_mode_and_are_left_as_they_were():
    teacher = nn.Sequential(nn.Dropout(1.0), Fixed(1)).train()
    teacher[1].eval()
    assert votes_of([teacher], torch.ones(2, 1)).tolist() == [[0, 1, 0]] * 2
    assert [part.training for part in teacher.modules()] == [True, True, False]
