"""Supervision transfer: a middle layer learnt without labels, and what it is worth with few."""

import copy

import pytest
import torch
from digit_views import ADAM, digits, net, right
from torch import nn

import kdnb
from kdnb.methods.cross_modal import transfer_supervision
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=600, lr=0.1, momentum=0.0, schedule="constant", precision="32")
VIEWS, PATHS = ("right", "whole"), ("1", "1")


def test_its_step_by_hand_moves_no_head():
    student, teacher, adaptor = net(98, width=12), net(196, 1), nn.Linear(12, 20)
    own, mapped = copy.deepcopy(student), copy.deepcopy(adaptor)
    views, _ = digits()
    transfer_supervision(student, teacher, views, STEP, views=VIEWS, paths=PATHS, adaptor=adaptor)
    target = teacher[:2](views["whole"]).detach()
    loss = (mapped(own[:2](views["right"])) - target).square().sum(1).mean() / 2
    moved = [*own[0].parameters(), *mapped.parameters()]
    gradients = torch.autograd.grad(loss, moved)
    found = [*student[0].parameters(), *adaptor.parameters()]
    for new, old, gradient in zip(found, moved, gradients, strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient, rtol=1e-4, atol=1e-5)
    assert torch.equal(student[2].weight, own[2].weight)


def test_unlabelled_pairs_are_worth_labels():
    """600 pairs without labels, then 60 labels, against the 60 labels alone and a random teacher."""
    teacher = net(196, 1)
    views, labels = digits()
    kdnb.train(teacher, (views["whole"], labels), ADAM)
    few = views["right"][:60], labels[:60]
    found = {}
    for name, guide in (("labels", None), ("teacher", teacher), ("random", net(196, 5))):
        student = net(98)
        if guide is not None:
            transfer_supervision(student, guide, views, ADAM, views=VIEWS, paths=PATHS)
        kdnb.train(student, few, ADAM)
        found[name] = right(student, "right")
    assert found["teacher"] > found["labels"] + 0.03
    assert found["teacher"] > found["random"]


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(600, 12, 1, 1\).*\(600, 20, 1, 1\)"):
        transfer_supervision(
            net(98, width=12), net(196), digits()[0], STEP, views=VIEWS, paths=PATHS
        )
    with pytest.raises(ValueError, match="no module '9'|9"):
        transfer_supervision(net(98), net(196), digits()[0], STEP, views=VIEWS, paths=("9", "1"))
