"""The mean of several networks' probabilities, against loops."""

import math

import pytest
import torch
from draws import draw_wide
from loops import softmax

from kdnb import losses


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_mean_probability_against_loops(count):
    logits = [draw_wide(3, 4, seed=seed) for seed in range(count)]
    answers = [[softmax(row) for row in member.tolist()] for member in logits]
    got = losses.ensemble_log_probabilities(logits)
    for b in range(3):
        for k in range(4):
            mean = sum(member[b][k] for member in answers) / count
            assert got[b, k].item() == pytest.approx(math.log(mean), rel=1e-9)
    torch.testing.assert_close(got.softmax(1), got.exp())


def test_certain_members_stay_finite():
    logits = [torch.tensor([[1e3, 0.0, -1e3]]), torch.tensor([[0.0, 1e3, -1e3]])]
    got = losses.ensemble_log_probabilities(logits)
    torch.testing.assert_close(got[:, :2], torch.full((1, 2), math.log(0.5)))
    assert got.isfinite().all()


def test_members_are_needed_and_alike():
    with pytest.raises(ValueError, match="logits must be a list of at least 1; got 0"):
        losses.ensemble_log_probabilities([])
    with pytest.raises(ValueError, match=r"logits\[0\] \(2, 3\) and logits\[1\] \(2, 4\)"):
        losses.ensemble_log_probabilities([torch.zeros(2, 3), torch.zeros(2, 4)])
