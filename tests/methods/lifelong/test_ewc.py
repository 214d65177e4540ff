"""EWC: the Fisher information of a softmax regression by hand, its springs, and what they hold."""

import copy

import pytest
import torch
from small_contexts import ONCE, SOME, after_first, at, contexts, network, stepped, weights
from torch import nn
from torch.nn import functional as F

from kdnb.losses import elastic_penalty
from kdnb.methods import lifelong
from kdnb.methods.lifelong.ewc import Springs, fisher_information


def test_softmax_regression_by_hand():
    """The gradient of log q_y at the logits is onehot(y) - q, times the input at the weights."""
    torch.manual_seed(0)
    layer, inputs = nn.Linear(3, 4), torch.randn(40, 3)
    found = fisher_information(layer, inputs, slice(0, 4))
    weight, bias = torch.zeros(4, 3), torch.zeros(4)
    for x in inputs:
        q = layer(x).softmax(0).detach()
        for y in range(4):
            slope = F.one_hot(torch.tensor(y), 4) - q
            bias += q[y] * slope.square() / 40
            weight += q[y] * torch.outer(slope, x).square() / 40
    torch.testing.assert_close(found["weight"], weight)
    torch.testing.assert_close(found["bias"], bias)


def test_against_autograd_one_sample_and_label_at_a_time():
    made, inputs = network(), torch.randn(7, 5)
    found = fisher_information(made, inputs, slice(2, 5))
    expected = {name: torch.zeros_like(p) for name, p in made.named_parameters()}
    for x in inputs:
        logs = made(x[None])[0, 2:5].log_softmax(0)
        for y in range(3):
            slopes = torch.autograd.grad(logs[y], list(made.parameters()), retain_graph=True)
            for (name, _), slope in zip(made.named_parameters(), slopes, strict=True):
                expected[name] += logs[y].exp().detach() * slope.square() / 7
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert not found["2.bias"][:2].any()  # columns that do not compete matter to nobody


def test_a_network_with_normalisation_is_asked_in_eval_mode():
    made = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).train()
    before = made[1].running_mean.clone()
    found = fisher_information(made, torch.randn(9, 5), slice(0, 3))
    assert made.training and made[1].running_mean.equal(before)
    assert all(value.isfinite().all() and value.ge(0).all() for value in found.values())


def test_springs_are_the_sum_of_all_penalties_but_for_a_constant():
    springs, apart = Springs(), []
    for seed in range(3):
        made = network(seed=seed)
        found = fisher_information(made, torch.randn(9, 5), slice(0, 6))
        apart.append(([p.detach().clone() for p in made.parameters()], list(found.values())))
        springs.add(made, found)

    def gap(made):
        each = sum(elastic_penalty(list(made.parameters()), a, f) for a, f in apart)
        return each - springs.penalty(made)

    torch.testing.assert_close(gap(network(seed=7)), gap(network(seed=8)), rtol=1e-3, atol=1e-4)


def test_a_step_has_the_labels_and_the_springs():
    data, made = contexts("task", sizes=(2, 2, 2)), network()
    middle = after_first(data, made)
    found = fisher_information(middle, data.train[0][0], slice(0, 2))
    inputs, labels = data.train[1]
    second = at(middle, stepped(middle, F.cross_entropy(middle(inputs)[:, 2:4], labels - 2)))
    anchors = [p.detach().clone() for p in middle.parameters()]
    third_inputs, third_labels = data.train[2]
    more = fisher_information(second, inputs, slice(2, 4))
    there = [p.detach().clone() for p in second.parameters()]
    hard = F.cross_entropy(second(third_inputs)[:, 4:], third_labels - 4)
    held = elastic_penalty(list(second.parameters()), anchors, list(found.values()))
    held = held + elastic_penalty(list(second.parameters()), there, list(more.values()))
    lifelong.ewc(made, data, ONCE, strength=3.0)
    torch.testing.assert_close(
        weights(made), stepped(second, hard + 3 * held), rtol=1e-4, atol=1e-5
    )


def test_strong_springs_hold_and_weak_ones_do_not():
    data = contexts("task", sizes=(2, 2))
    made, other = network(4), network(4)
    lifelong.ewc(made, data, SOME, strength=0.0)
    lifelong.fine_tune(other, data, SOME)
    torch.testing.assert_close(weights(made), weights(other))
    held = lifelong.ewc(network(4), data, SOME, strength=1e4)
    assert held.history.held.dropna().iloc[-1] >= 0
    assert lifelong.forgetting(held.accuracy) <= 5


def test_wrong_options():
    for wrong, words in (
        ({"strength": -1.0}, "strength must"),
        ({"strength": 1.0, "samples": 0}, "samples must"),
    ):
        with pytest.raises(ValueError, match=words):
            lifelong.ewc(network(), contexts(), ONCE, **wrong)


def test_a_network_that_nobody_can_follow_is_refused_before_any_training():
    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(5, 6)

        def forward(self, inputs):
            return self.layer(inputs if inputs.sum() > 0 else -inputs)

    made = Branching()
    before = weights(made)
    with pytest.raises(ValueError, match=r"a network that torch.func can follow: vmap"):
        lifelong.ewc(made, contexts(), ONCE, strength=1.0)
    assert weights(made).equal(before)


def test_the_information_of_half_precision_is_that_of_single():
    made = network(2)
    inputs = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    half = copy.deepcopy(made).bfloat16()
    found = fisher_information(half, inputs.float(), slice(0, 2))
    wanted = fisher_information(half.float(), inputs.float(), slice(0, 2))
    for name, value in found.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, wanted[name], rtol=0.1, atol=0.02)
