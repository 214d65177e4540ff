"""Unfolding is exact; shrinking is where it says so, and close elsewhere."""

import pytest
import torch
from several_teachers import digits, lenet, mlp, teachers
from torch import nn

from kdnb.methods import multi_teacher as mt


def random_images(count=30):
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("widths", [[(24,), (24,)], [(8, 6), (5, 9), (7, 7)], [(), ()]])
def test_the_unfolded_network_says_the_mean_of_the_logits(widths):
    members = [mlp(seed, sizes).double() for seed, sizes in enumerate(widths)]
    for number, member in enumerate(members):
        with torch.no_grad():
            for parameter in member.parameters():
                parameter.add_(0.1 * (number + 1))  # also the biases
    images = random_images().double()
    whole = mt.unfold(members)
    with torch.no_grad():
        expected = torch.stack([member.eval()(images) for member in members]).mean(0)
        torch.testing.assert_close(whole(images), expected)
    assert [layer.linear.out_features for layer in whole.hidden] == [
        sum(sizes) for sizes in zip(*widths, strict=True)
    ]


def test_real_teachers_unfold_and_dropout_is_gone():
    members = [*teachers("mlp", "mlp"), mlp(3, dropout_hidden=0.5)]
    images, _ = digits()
    whole = mt.unfold(members).train()
    with torch.no_grad():
        expected = torch.stack([member.eval()(images) for member in members]).mean(0)
        torch.testing.assert_close(whole(images), expected, rtol=1e-5, atol=1e-5)


def test_middle_layers_are_block_diagonal():
    whole = mt.unfold([mlp(0, (4, 3)), mlp(1, (5, 2))])
    weight = whole.hidden[1].linear.weight
    assert torch.equal(weight[:3, 4:], torch.zeros(3, 5))
    assert torch.equal(weight[3:, :4], torch.zeros(2, 4))


def test_twins_shrink_to_one_by_weights_alone():
    """Two equal members: half of the neurons are copies, and nothing is lost without them."""
    member = mlp(0, (12, 8)).double()
    whole = mt.unfold([member, member])
    small = mt.shrink_by_weights(whole, [12, 8])
    images = random_images().double()
    torch.testing.assert_close(small(images), member.eval()(images))


def test_proportional_neurons_shrink_exactly():
    """relu(c w x + c b) = c relu(w x + b) for c > 0."""
    network = mlp(0, (6,)).double()
    linear = network.hidden[0].linear
    with torch.no_grad():
        linear.bias.normal_()
        linear.weight[3], linear.bias[3] = 2.5 * linear.weight[1], 2.5 * linear.bias[1]
    small = mt.shrink_by_weights(network, [5])
    images = random_images().double()
    torch.testing.assert_close(small(images), network.eval()(images))
    opposite = mlp(0, (6,)).double()
    with torch.no_grad():
        other = opposite.hidden[0].linear
        other.weight[3], other.bias[3] = -other.weight[1], -other.bias[1]
    cut = mt.shrink_by_weights(opposite, [5])
    assert not torch.allclose(cut(images), opposite.eval()(images))


@pytest.mark.parametrize("shrink", ["weights", "data"])
def test_at_full_width_nothing_changes(shrink):
    network, images = mlp(0, (7, 5)).double(), random_images().double()
    small = (
        mt.shrink_by_weights(network, [7, 5])
        if shrink == "weights"
        else mt.shrink_by_data(network, [7, 5], images)
    )
    torch.testing.assert_close(small(images), network.eval()(images))
    assert small is not network


def test_least_squares_lose_nothing_where_activations_have_low_rank():
    """Of images in a plane of 2 dimensions on one side of all hinges, 3 numbers say everything."""
    network = mlp(0, (10,)).double()
    with torch.no_grad():
        network.hidden[0].linear.bias.fill_(50.0)  # every ReLU is open
    images = (random_images(2)[:, None] * torch.randn(2, 40, 1, 1, 1)).sum(0).double()
    small = mt.shrink_by_data(network, [2], images)
    torch.testing.assert_close(small(images), network.eval()(images), rtol=1e-6, atol=1e-6)


def test_by_data_an_ensemble_of_digits_keeps_more_than_by_weights_or_by_chance():
    images, _ = digits(600)
    whole = mt.unfold(teachers("mlp", "mlp", "mlp"))
    held_out = digits(900)[0][600:]
    with torch.no_grad():
        expected = whole(held_out)

        def error(network):
            return float((network(held_out) - expected).square().mean())

        chance = mt.shrink_by_data(whole, [72], images)
        keep = torch.randperm(72, generator=torch.Generator().manual_seed(0))[:24]
        mask = torch.zeros(72).index_fill(0, keep, 1.0)
        chance.head.weight.mul_(mask)
        errors = {
            "data": error(mt.shrink_by_data(whole, [24], images)),
            "weights": error(mt.shrink_by_weights(whole, [24])),
            "chance": error(chance),
        }
    assert errors["data"] < 0.5 * errors["weights"] < 0.5 * errors["chance"] * 2
    agree = mt.shrink_by_data(whole, [24], images)(held_out).argmax(1) == expected.argmax(1)
    assert agree.double().mean() > 0.85


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_factorises(bias):
    torch.manual_seed(0)
    linear = nn.Linear(7, 5, bias=bias).double()
    x = torch.randn(4, 7, dtype=torch.float64)
    torch.testing.assert_close(mt.factorised(linear, 5)(x), linear(x))
    first, second = mt.factorised(linear, 2)
    assert first.weight.numel() + second.weight.numel() == 2 * (7 + 5)
    left = torch.linalg.svdvals(linear.weight)[2:].square().sum()
    error = (second.weight @ first.weight - linear.weight).square().sum()
    torch.testing.assert_close(error, left)
    with pytest.raises(ValueError, match=r"rank must lie in \[1, 5\]"):
        mt.factorised(linear, 6)


def test_what_does_not_unfold_or_shrink():
    with pytest.raises(ValueError, match="at least one network"):
        mt.unfold([])
    with pytest.raises(TypeError, match="of the kind mlp; got LeNet5"):
        mt.unfold([mlp(), lenet()])
    with pytest.raises(ValueError, match="equally deep"):
        mt.unfold([mlp(0, (4,)), mlp(0, (4, 4))])
    with pytest.raises(ValueError, match="widths must be 1"):
        mt.shrink_by_weights(mlp(0, (4,)), [5])
