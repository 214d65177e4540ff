"""iCaRL: a step on old and new examples together, the nearest mean, and what its parts do."""

import pytest
import torch
from small_contexts import ONCE, SOME, at, contexts, network, stepped, weights
from torch import nn
from torch.nn import functional as F

from kdnb.methods import lifelong
from kdnb.methods.lifelong import Exemplars, NearestMean, herding
from kdnb.methods.lifelong.heads import features_of


def binary(z, targets):
    return F.binary_cross_entropy_with_logits(z, targets, reduction="none").sum(1).mean()


@pytest.mark.parametrize("distil", [True, False])
def test_a_step_takes_new_examples_and_stored_ones_as_one_set(distil):
    data, made = contexts("class", sizes=(2, 2)), network(4)
    inputs, labels = data.train[0]
    start = binary(made(inputs)[:, :2], F.one_hot(labels, 2).float())
    middle = at(made, stepped(made, start))
    lifelong.icarl(made, data, ONCE, memory=8, distil=distil)
    kept = []
    for label in (0, 1):
        own = inputs[labels == label]
        kept.append(own[herding(features_of(middle, own, "2"), 4)])
    both = torch.cat([data.train[1][0], *kept])
    named = torch.cat([data.train[1][1], torch.tensor([0] * 4 + [1] * 4)])
    targets = F.one_hot(named, 4).float()
    if distil:
        targets[:, :2] = middle(both).detach()[:, :2].sigmoid()
    expected = stepped(middle, binary(middle(both), targets))
    torch.testing.assert_close(weights(made), expected)


def test_the_nearest_mean_against_loops():
    made, stored = network(6), Exemplars(12)
    inputs, labels = contexts("class").train[0]
    stored.add(0, inputs, labels, lambda own, count: torch.arange(count))
    nearest = NearestMean(made, "2", 6)
    nearest.learn(stored)
    scores = nearest(inputs)
    body = made[:2]
    for row, x in zip(scores, inputs, strict=True):
        phi = F.normalize(body(x[None]), dim=1)[0]
        for label in range(6):
            if label > 1:
                assert row[label] == -torch.inf
                continue
            mean = F.normalize(body(stored.groups[0, label]), dim=1).mean(0)
            expected = -(phi - F.normalize(mean, dim=0)).norm()
            torch.testing.assert_close(row[label], expected)


def test_it_keeps_what_fine_tuning_loses():
    data = contexts("class")
    fit = lifelong.icarl(network(), data, SOME, memory=24)
    lost = lifelong.fine_tune(network(), data, SOME)
    assert lifelong.average_accuracy(fit.accuracy) > lifelong.average_accuracy(lost.accuracy) + 20
    nearest = fit.networks["classifier"]
    inputs, labels = data.test[0]
    named = nearest(inputs).argmax(1)
    assert fit.accuracy[2, 0] == pytest.approx(100 * float((named == labels).double().mean()))


def test_the_head_may_classify():
    made, data = network(), contexts("class")
    fit = lifelong.icarl(made, data, SOME, memory=24, classify="head", exemplars="random")
    inputs, labels = data.test[1]
    right = (made(inputs).argmax(1) == labels).double().mean()
    assert fit.accuracy[2, 1] == pytest.approx(100 * float(right))


def test_what_it_refuses():
    with pytest.raises(
        ValueError, match='icarl learns classes: its contexts must be "class", not "task"'
    ):
        lifelong.icarl(network(), contexts("task"), ONCE)
    with pytest.raises(ValueError, match="a memory of 3 is smaller"):
        lifelong.icarl(network(), contexts("class"), ONCE, memory=3)
    with pytest.raises(ValueError, match="exemplars must be"):
        lifelong.icarl(network(), contexts("class"), ONCE, exemplars="best")
    convolution = nn.Sequential(nn.Unflatten(1, (5, 1)), nn.Conv1d(5, 6, 1), nn.Flatten())
    with pytest.raises(ValueError, match="has no linear layer of 6 outputs"):
        lifelong.icarl(convolution, contexts("class"), ONCE)
