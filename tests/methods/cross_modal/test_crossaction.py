"""Cross-modal action: hard decisions of a teacher on another view, and students that learn together."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb.losses import mutual_loss
from kdnb.methods.cross_modal import Seeing, cross_action, decisions
from kdnb.training import Recipe

STEP = Recipe(epochs=1, batch_size=30, lr=0.1, momentum=0.0, schedule="constant", precision="32")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


PAIRS = {"skeleton": draw(30, 5), "video": draw(30, 8, seed=1)}


def linear(inputs, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, 4)


def test_decisions_keep_the_order_and_the_teachers_mode():
    teacher = nn.Sequential(linear(8), nn.Dropout(0.9)).train()
    found = decisions(Seeing(teacher, "video"), PAIRS, batch_size=7)
    assert found.equal(teacher[0](PAIRS["video"]).argmax(1))
    assert teacher.training


def test_the_step_of_two_students_by_hand():
    students, teacher = [linear(5), linear(5, 1)], linear(8, 2)
    before = copy.deepcopy(students)
    cross_action(
        students, teacher, PAIRS, STEP, views=("skeleton", "video"), weight=0.7,
        order="simultaneous",
    )  # fmt: skip
    decided = teacher(PAIRS["video"]).argmax(1)
    logits = [net(PAIRS["skeleton"]) for net in before]
    for place in (0, 1):
        loss = F.cross_entropy(logits[place], decided)
        loss = loss + 0.7 * mutual_loss(logits[place], [logits[1 - place]])
        gradient = torch.autograd.grad(loss, before[place].weight, retain_graph=True)[0]
        torch.testing.assert_close(
            students[place].weight, before[place].weight - 0.1 * gradient, rtol=1e-4, atol=1e-6
        )


def test_only_the_decision_counts():
    """A teacher that is ten times as sure decides the same, and so teaches the same."""
    moved = []
    for scale in (1.0, 10.0):
        student, teacher = linear(5), linear(8, 2)
        with torch.no_grad():
            for parameter in teacher.parameters():
                parameter.mul_(scale)
        cross_action([student], teacher, PAIRS, STEP, views=("skeleton", "video"))
        moved.append(student.weight.detach())
    assert torch.equal(*moved)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="one student or more; got none"):
        cross_action([], linear(8), PAIRS, STEP, views=("skeleton", "video"))
    with pytest.raises(ValueError, match="no view 'depth'"):
        cross_action([linear(5)], linear(8), PAIRS, STEP, views=("skeleton", "depth"))
