"""Co-teaching: labels made wrong, what is kept, and two networks that resist."""

import pytest
import torch
from torch import nn

from kdnb.methods.applications.coteaching import coteach, noisy_labels


def blobs(count, seed):
    """Four classes in the plane; little noise."""
    labels = torch.arange(count) % 4
    centres = torch.tensor([[2.0, 0], [0, 2], [-2, 0], [0, -2]])
    stream = torch.Generator().manual_seed(seed)
    return centres[labels] + 0.5 * torch.randn(count, 2, generator=stream), labels


def networks():
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 4)) for _ in range(2)]


def test_labels_are_wrong_as_often_and_in_the_way_asked_for():
    labels = torch.arange(20000) % 10
    for kind in ("symmetric", "pair"):
        made = noisy_labels(labels, 0.45, 10, kind, seed=1)
        wrong = made != labels
        assert abs(wrong.double().mean() - 0.45) < 0.02
        shifts = ((made - labels) % 10)[wrong].bincount(minlength=10)
        assert shifts[0] == 0
        assert (shifts[1:] > 800).all() if kind == "symmetric" else shifts[1] == wrong.sum()
    assert noisy_labels(labels, 0.0, 10).equal(labels)
    with pytest.raises(ValueError, match='kind must be "symmetric" or "pair"'):
        noisy_labels(labels, 0.1, 10, "odd")


def test_small_losses_are_right_labels_and_exchange_helps():
    inputs, right = blobs(400, 0)
    given = noisy_labels(right, 0.4, 4, "symmetric", seed=1)
    test, truth = blobs(400, 5)
    accuracy, found = {}, {}
    for pick in ("other", "self", "all"):
        pair = networks()
        found[pick] = coteach(*pair, inputs, given, 0.4, epochs=60, ramp_epochs=5, batch_size=50,
                              rate=0.02, pick=pick, right=right, seed=2)  # fmt: skip
        with torch.no_grad():
            accuracy[pick] = (pair[0](test).argmax(1) == truth).double().mean().item()
    assert accuracy["other"] > accuracy["all"] and accuracy["other"] > 0.95
    assert found["other"].precision[-1] > 0.9
    assert 0.55 < found["all"].precision[-1] < 0.65
    assert found["other"].shares[0] == 1 and found["other"].shares[-1] == pytest.approx(0.6)
    assert set(found["all"].shares) == {1.0}


def test_it_is_a_function_of_its_seed():
    inputs, labels = blobs(40, 0)
    made = []
    for seed in (1, 1, 2):
        pair = networks()
        calls = []
        coteach(*pair, inputs, labels, 0.2, epochs=2, batch_size=13, after_epoch=lambda c=calls: c.append(1), seed=seed)  # fmt: skip
        assert len(calls) == 2
        made.append(pair[0][0].weight)
    assert made[0].equal(made[1]) and not made[0].equal(made[2])
