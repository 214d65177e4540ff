"""Stacks of networks: each moves as it would by itself, by the optimisers that they name."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb.methods.cross_modal import correct_of, fit_stack, glorot_stack, stack_logits


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def targets_for(count, samples, classes):
    return draw(count, samples, classes, seed=2).softmax(-1)


def test_a_stack_answers_as_its_networks_do():
    stack = glorot_stack((5, 4, 3), 2, 7, alike=False)
    inputs = draw(6, 5)
    for place, logits in enumerate(stack_logits(stack, inputs)):
        layers = []
        for weight, bias in stack:
            layer = nn.Linear(*weight.shape[1:])
            layer.weight.data, layer.bias.data = weight[place].T.detach(), bias[place, 0].detach()
            layers += [layer, nn.ReLU()]
        torch.testing.assert_close(logits, nn.Sequential(*layers[:-1])(inputs))
    own = torch.stack([inputs, inputs + 1])
    torch.testing.assert_close(
        stack_logits(stack, own)[1], stack_logits(stack, inputs + 1)[1], rtol=1e-5, atol=1e-6
    )


def test_first_weights_are_glorots_and_alike_where_asked():
    (first, bias), (second, _) = glorot_stack((50, 30, 10), 4, 0)
    assert (first.shape, second.shape, bias.shape) == ((4, 50, 30), (4, 30, 10), (4, 1, 30))
    assert torch.equal(first[0], first[3]) and not bias.any()
    bound = math.sqrt(6 / 80)
    assert bound * 0.95 < float(first.detach().abs().max()) <= bound
    assert abs(float(first.detach().mean())) < bound / 10
    other = glorot_stack((50, 30, 10), 4, 0, alike=False)[0][0]
    assert not torch.equal(other[0], other[1])


@pytest.mark.parametrize("optimiser", ["rmsprop", "adam"])
def test_each_network_moves_as_by_itself(optimiser):
    recipe = {"optimiser": optimiser, "lr": 0.01, "epochs": 3, "batch_size": 4, "seed": 5}
    inputs, targets = draw(10, 5), targets_for(3, 10, 4)
    together = fit_stack(glorot_stack((5, 6, 4), 3, 1), inputs, targets, **recipe)
    for place in range(3):
        alone = glorot_stack((5, 6, 4), 1, 1)
        fit_stack(alone, inputs, targets[place : place + 1], **recipe)
        for (weight, bias), (own, own_bias) in zip(together, alone, strict=True):
            torch.testing.assert_close(weight[place], own[0], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(bias[place], own_bias[0], rtol=1e-4, atol=1e-6)


def test_adam_is_pytorchs():
    inputs, targets = draw(8, 3), targets_for(1, 8, 2)
    stack = glorot_stack((3, 2), 1, 0)
    layer = nn.Linear(3, 2)
    layer.weight.data, layer.bias.data = stack[0][0][0].detach().T.clone(), torch.zeros(2)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(7):
        optimiser.zero_grad()
        F.cross_entropy(layer(inputs), targets[0]).backward()
        optimiser.step()
    fit_stack(stack, inputs, targets, optimiser="adam", lr=0.05, epochs=7, batch_size=8)
    torch.testing.assert_close(stack[0][0][0].T, layer.weight, rtol=1e-4, atol=1e-6)


def test_rmsprop_by_hand():
    """Two steps on one sample with the small number under the root."""
    inputs, targets = torch.tensor([[1.0]]), torch.tensor([[[1.0, 0.0]]])
    stack = glorot_stack((1, 2), 1, 3)
    weight = stack[0][0].detach().clone()[0, 0].double()
    bias, squares = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for _ in range(2):
        gradient = (weight + bias).softmax(0) - targets[0, 0]
        squares = 0.9 * squares + 0.1 * gradient**2
        move = 0.001 * gradient / (squares + 1e-6).sqrt()
        weight, bias = weight - move, bias - move
    fit_stack(stack, inputs, targets, epochs=2)
    torch.testing.assert_close(stack[0][0][0, 0].double(), weight, rtol=1e-5, atol=1e-7)


def test_a_tiny_gradient_moves_less_than_by_pytorchs_rmsprop():
    """1e-6 under the root is as a gradient of 1e-3: students near their optimum slow down."""
    inputs, targets = torch.tensor([[1.0]]), torch.tensor([[[1.0, 0.0]]]) * 1e-4
    stack = glorot_stack((1, 2), 1, 3)
    before = stack[0][0].detach().clone()
    fit_stack(stack, inputs, targets, epochs=1)
    assert 0 < float((stack[0][0].detach() - before).abs().max()) < 0.001 * 0.1


def test_the_temperature_softens_the_student_of_its_place():
    inputs, targets = draw(8, 3), targets_for(2, 8, 2)
    recipe = {"epochs": 2, "batch_size": 8}
    mixed = glorot_stack((3, 2), 2, 0)
    fit_stack(mixed, inputs, targets, temperature=torch.tensor([1.0, 4.0])[:, None, None], **recipe)
    for place, temperature in enumerate((1.0, 4.0)):
        alone = glorot_stack((3, 2), 1, 0)
        own = targets[place : place + 1]
        fit_stack(alone, inputs, own, temperature=temperature, **recipe)
        torch.testing.assert_close(mixed[0][0][place], alone[0][0][0])


def test_the_share_that_is_right():
    stack = [(torch.eye(2)[None], torch.zeros(1, 1, 2))]
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert correct_of(stack, inputs, torch.tensor([0, 1, 1, 1])).tolist() == [0.75]


def test_what_does_not_fit_is_refused():
    stack = glorot_stack((3, 2), 2, 0)
    with pytest.raises(ValueError, match=r"targets must be \(2, 4, 2\), .*; got \(1, 4, 2\)"):
        fit_stack(stack, draw(4, 3), targets_for(1, 4, 2))
    with pytest.raises(ValueError, match='optimiser must be "rmsprop" or "adam"; got \'sgd\''):
        fit_stack(stack, draw(4, 3), targets_for(2, 4, 2), optimiser="sgd")
    with pytest.raises(ValueError, match="sizes must be two whole numbers or more"):
        glorot_stack((3,), 1, 0)
