"""A network that learns with quantised weights: the step by hand, and what is left of it."""

import copy
from functools import partial

import pytest
import torch
from several_teachers import digits
from small_quantised import QUICK, convnet, levels, trained
from torch import nn
from torch.nn.utils import parametrize

import kdnb
from kdnb.methods import quantized as q

TWO = partial(q.uniform, bits=2, bucket=256)


def test_a_step_moves_the_full_precision_weights_by_the_gradient_at_the_quantised_ones():
    images, labels = digits()
    network, by_hand = convnet(), convnet()
    shadow = by_hand[0].weight.detach().clone()
    with torch.no_grad():
        by_hand[0].weight.copy_(TWO(shadow))
        by_hand[4].weight.copy_(TWO(by_hand[4].weight))
    nn.functional.cross_entropy(by_hand(images), labels).backward()
    with q.quantised(network, TWO):
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
        moved = network[0].parametrizations.weight.original.detach().clone()
    torch.testing.assert_close(moved, shadow - 0.1 * by_hand[0].weight.grad)
    torch.testing.assert_close(network[0].weight.detach(), TWO(moved))


def test_small_steps_add_up_until_a_weight_changes_its_point():
    network = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.0, 0.4, 0.6, 1.0]]))
    one = partial(q.uniform, bits=1, bucket=None)
    seen = []
    with q.quantised(network, one):
        optimiser = torch.optim.SGD(network.parameters(), lr=0.02)
        for _ in range(10):
            optimiser.zero_grad()
            (-network(torch.tensor([[0.0, 1.0, 0.0, 0.0]])).sum()).backward()
            optimiser.step()
            seen.append(float(network.weight.detach()[0, 1]))
    assert seen[0] == 0 and seen[-1] == 1 and seen == sorted(seen)


def test_what_is_left_is_an_ordinary_network_on_points():
    network = trained()
    weight, kind = network[0].weight, type(network[0])
    with q.quantised(network, TWO):
        assert parametrize.is_parametrized(network[0])
        kdnb.train(network, digits(), QUICK)
    assert not any(map(parametrize.is_parametrized, network))
    assert network[0].weight is weight and type(network[0]) is kind
    assert levels(network[0]) == 4 and levels(network[4]) <= 4 * -(-2560 // 256)
    assert set(network.state_dict()) == set(convnet().state_dict())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_after_an_exception_the_weights_are_those_in_full_precision():
    network = trained()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(RuntimeError, match="stop"), q.quantised(network, TWO):
        raise RuntimeError("stop")
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not any(map(parametrize.is_parametrized, network))


def test_evaluation_inside_is_of_the_quantised_network():
    network = trained()
    after = q.rounded(network, TWO)
    with q.quantised(network, TWO):
        inside = network.eval()(digits()[0])
    torch.testing.assert_close(inside, after.eval()(digits()[0]))


def test_training_on_few_points_beats_rounding_afterwards():
    one = partial(q.uniform, bits=1, bucket=None)
    full = trained(epochs=12)
    rounded = kdnb.evaluate(q.rounded(full, one), digits())["accuracy"]
    with q.quantised(full, one):
        kdnb.train(full, digits(), QUICK, epochs=6)
    assert kdnb.evaluate(full, digits())["accuracy"] > rounded + 0.05


def test_which_layers_are_quantised():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 2))
    assert list(q.weights_of(network)) == ["0", "2", "3"]
    assert list(q.weights_of(network, "ends")) == ["2"]
    assert list(q.weights_of(network, ["2"])) == ["0", "3"]
    kept = copy.deepcopy(network[0].weight)
    with q.quantised(network, q.ternary, keep="ends"):
        pass
    assert torch.equal(network[0].weight, kept) and levels(network[2]) <= 3


@pytest.mark.parametrize(
    ("keep", "words"),
    [("first", "a list of paths"), (["9"], "no layer with weights is called"),
     (["0", "4"], "left to be quantised"), ("ends", "left to be quantised")],
)  # fmt: skip
def test_layers_that_are_none_are_refused(keep, words):
    with pytest.raises(ValueError, match=words), q.quantised(convnet(), TWO, keep=keep):
        pass


def test_a_network_cannot_be_quantised_twice():
    network = convnet()
    with q.quantised(network, TWO):
        again = q.quantised(network, TWO)
        with pytest.raises(ValueError, match="parametrised already"), again:
            pass
        assert parametrize.is_parametrized(network[0])


def test_stored_bytes():
    network = nn.Linear(256, 10)  # 2,560 weights, 10 buckets, 10 biases
    assert q.stored_bytes(network) == 4 * 2570
    assert q.stored_bytes(network, 2) == 2560 / 4 + 10 * 8 + 40
    assert q.stored_bytes(network, 4, None) == 2560 / 2 + 8 + 40


def test_the_callers_random_numbers_stay():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    noisy = partial(q.uniform, bits=2, stochastic=True)
    one, other = convnet(3), convnet(3)
    torch.manual_seed(5)
    with q.quantised(one, noisy):
        pass
    assert torch.equal(torch.rand(3), expected)
    with q.quantised(other, noisy):
        pass
    assert torch.equal(one[0].weight, other[0].weight)
