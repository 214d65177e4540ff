"""Beta smoothing: the targets' ranks and moments, the running mean."""

import pytest
import torch
from softened_labels import QUICK, batches, small

from kdnb.methods import self_distillation as own


def test_beta_targets_rank_by_confidence():
    torch.manual_seed(0)
    confidence, labels = torch.tensor([0.2, 0.9, 0.5, 0.7]), torch.tensor([0, 1, 2, 0])
    for _ in range(10):
        targets = own.beta_targets(confidence, labels, 3, 2.0)
        at = targets[torch.arange(4), labels]
        assert at.argsort().tolist() == confidence.argsort().tolist()
        torch.testing.assert_close(targets.sum(1), torch.ones(4))
        rest = targets.sort(1).values
        for row, label in zip(targets, labels, strict=True):
            others = [float(v) for k, v in enumerate(row) if k != label]
            assert others[0] == pytest.approx(others[1])
        assert rest.min() >= 0


def test_beta_targets_have_the_moments_of_a_beta_distribution():
    torch.manual_seed(0)
    n, a = 40000, 3.0
    drawn = own.beta_targets(torch.rand(n), torch.zeros(n, dtype=torch.int64), 2, a)[:, 0]
    assert drawn.mean().item() == pytest.approx(a / (a + 1), abs=0.004)
    assert drawn.var().item() == pytest.approx(a / ((a + 1) ** 2 * (a + 2)), rel=0.03)


def test_wrong_beta_targets():
    half, labels = torch.tensor([0.5]), torch.tensor([0])
    with pytest.raises(ValueError, match="concentration must be above 0"):
        own.beta_targets(half, labels, 3, 0.0)
    with pytest.raises(ValueError, match="at least 2 classes"):
        own.beta_targets(half, labels, 1)
    with pytest.raises(ValueError, match=r"\(2,\), \(1,\)"):
        own.beta_targets(torch.zeros(2), labels, 3)


def test_the_running_mean_follows_and_is_not_trained():
    network = own.WithAverage(small(), decay=0.9)
    start = network.average.head.weight.clone()
    with torch.no_grad():
        network.network.head.weight += 1.0
    network.follow()
    # The first step's decay is 1 - 1/2.
    torch.testing.assert_close(network.average.head.weight, start + 0.5)
    for _ in range(200):
        network.follow()
    torch.testing.assert_close(network.average.head.weight, start + 1.0)
    assert not any(p.requires_grad for p in network.average.parameters())


def test_beta_smoothing_trains_and_resumes(tmp_path):
    plan = QUICK.model_copy(update={"epochs": 3})

    def run(model, **options):
        own.beta_smoothed(model, batches(), plan, **options)
        return model

    class Killed(Exception):
        pass

    def die(networks):
        if (tmp_path / "state").exists():
            raise Killed
        return {}

    straight = run(own.WithAverage(small(), 0.9))
    with pytest.raises(Killed):
        run(own.WithAverage(small(), 0.9), checkpoint=tmp_path / "state", evaluate=die)
    resumed = run(own.WithAverage(small(), 0.9), checkpoint=tmp_path / "state")
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert straight.steps == 15
    assert not torch.equal(straight.average.head.weight, straight.network.head.weight)
