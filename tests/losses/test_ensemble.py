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


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("weights", [[0.2, 0.5, 0.3], [0.0, 2.0, 6.0], [1.0, 1.0, 1.0]])
def test_weighted_means_against_loops(weights):
    logits = [draw_wide(3, 4, seed=seed) for seed in range(3)]
    answers = [[softmax(row) for row in member.tolist()] for member in logits]
    given, total = torch.tensor(weights, dtype=torch.float64), sum(weights)
    one = losses.ensemble_log_probabilities(logits, given).exp()
    other = losses.ensemble_log_probabilities(logits, given, "geometric").exp()
    for b in range(3):
        products = [
            math.prod(answers[k][b][c] ** (weights[k] / total) for k in range(3)) for c in range(4)
        ]
        for c in range(4):
            mean = sum(w / total * member[b][c] for w, member in zip(weights, answers, strict=True))
            assert one[b, c].item() == pytest.approx(mean, rel=1e-9)
            assert other[b, c].item() == pytest.approx(products[c] / sum(products), rel=1e-9)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_each_mean_minimises_its_own_divergence(mean):
    """Sum of KL(p_k || q) and of KL(q || p_k): the gradient vanishes at the mean, and nowhere near."""
    logits = [draw_wide(1, 4, seed=seed, scale=1.5) for seed in range(3)]
    answers = [softmax(member[0].tolist()) for member in logits]
    best = losses.ensemble_log_probabilities(logits, mean=mean)[0]

    def total(log_q):
        q = torch.softmax(log_q, 0).tolist()
        if mean == "arithmetic":
            return sum(divergence(p, q) for p in answers)
        return sum(divergence(q, p) for p in answers)

    for seed in range(6):
        assert total(best) < total(best + 0.05 * draw_wide(4, seed=10 + seed))


def test_the_geometric_mean_is_that_of_the_logits_and_one_member_is_itself():
    logits = [draw_wide(3, 4, seed=seed) for seed in range(3)]
    found = losses.ensemble_log_probabilities(logits, mean="geometric")
    torch.testing.assert_close(found, torch.stack(logits).mean(0).log_softmax(1))
    for mean in ("arithmetic", "geometric"):
        one = losses.ensemble_log_probabilities(logits[:1], mean=mean)
        torch.testing.assert_close(one, logits[0].log_softmax(1))


def test_weights_of_each_sample_choose_its_members():
    logits = [draw_wide(3, 4, seed=seed) for seed in range(2)]
    chosen = torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 0.0]])
    expected = torch.stack([logits[0][0], logits[1][1], logits[0][2]]).log_softmax(1)
    for mean in ("arithmetic", "geometric"):
        found = losses.ensemble_log_probabilities(logits, chosen, mean)
        torch.testing.assert_close(found, expected)


def test_an_excluded_class_of_a_member_without_weight_is_not_seen():
    logits = [torch.tensor([[0.0, -math.inf]]), torch.tensor([[1.0, 2.0]])]
    weights = torch.tensor([0.0, 1.0])
    for mean in ("arithmetic", "geometric"):
        found = losses.ensemble_log_probabilities(logits, weights, mean)
        torch.testing.assert_close(found, logits[1].log_softmax(1))


@pytest.mark.parametrize(
    "weights", [[-1.0, 2.0], [0.0, 0.0], [1.0, math.inf], [1.0], [[1.0], [1.0], [1.0]]]
)
def test_weights_that_are_none(weights):
    logits = [torch.zeros(2, 3), torch.zeros(2, 3)]
    with pytest.raises(ValueError, match=r"^weights must be"):
        losses.ensemble_log_probabilities(logits, torch.tensor(weights))
