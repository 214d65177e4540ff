"""The head: where it is, what it is given, and rows of it that learn alone."""

import pytest
import torch
from small_contexts import network
from torch import nn

from kdnb import nets
from kdnb.methods.lifelong.heads import features_of, head_of, rows_learning


def test_the_head_is_the_last_linear_layer_of_that_size():
    assert head_of(network(), 6) == "2"
    assert head_of(nets.build("lenet5", num_classes=7), 7) == "head"
    twice = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 6))
    assert head_of(twice, 6) == "1"
    with pytest.raises(ValueError, match="Sequential has no linear layer of 4 outputs"):
        head_of(network(), 4)


def test_features_are_its_input():
    made, inputs = network().train(), torch.randn(1100, 5)
    torch.testing.assert_close(features_of(made, inputs, "2"), made[:2](inputs).detach())
    assert made.training


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_other_rows_stay_whatever_the_optimiser_does(kind):
    made, inputs = network(), torch.randn(20, 5)
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    make = {"sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.3),
            "adam": lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.3)}[kind]  # fmt: skip
    with rows_learning(made, "2", slice(2, 4)) as put_back:
        optimiser = make([p for p in made.parameters()])
        for _ in range(3):
            optimiser.zero_grad()
            made(inputs).square().sum().backward()
            optimiser.step()
            put_back()
    for name, p in made.named_parameters():
        same = p.detach().eq(before[name])
        if name.startswith("2."):
            assert same[:2].all() and same[4:].all() and not same[2:4].any()
        else:
            assert same.all()
    assert all(p.requires_grad for p in made.parameters())
