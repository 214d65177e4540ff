"""Belief matching: transition curves, their mean error, the toy in two dimensions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.methods.data_free import (
    belief_matching,
    belief_matching_toy,
    mean_transition_error,
    transition_curves,
)


def linear(weight):
    network = nn.Linear(2, 3, bias=False)
    network.weight.data = torch.tensor(weight)
    return network


def test_transition_curves_against_a_walk_by_hand():
    student = linear([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    teacher = linear([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    point, label = torch.tensor([1.0, 0.2]), 0
    ours, theirs = transition_curves(student, teacher, point[None], torch.tensor([label]),
                                     steps=3, lr=0.5)  # fmt: skip
    assert ours.shape == theirs.shape == (1, 2, 3)
    for shift in (1, 2):
        x = point.clone()
        for step in range(3):
            q, p = (F.softmax(net.weight.detach() @ x, 0) for net in (student, teacher))
            assert ours[0, shift - 1, step].item() == pytest.approx(q[shift].item(), abs=1e-5)
            assert theirs[0, shift - 1, step].item() == pytest.approx(p[shift].item(), abs=1e-5)
            wrong = q - F.one_hot(torch.tensor(shift), 3)
            x = x - 0.5 * (student.weight.detach().T @ wrong)


def test_walks_in_several_batches_are_the_same_walks(monkeypatch):
    student = linear([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    teacher = linear([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    points, labels = torch.tensor([[1.0, 0.2], [0.0, 1.0], [-2.0, 0.1]]), torch.tensor([0, 1, 2])
    once = transition_curves(student, teacher, points, labels, steps=3)
    monkeypatch.setattr(belief_matching, "TOGETHER", 4)
    for whole, parts in zip(
        once, transition_curves(student, teacher, points, labels, steps=3), strict=True
    ):
        torch.testing.assert_close(whole, parts)
    alone = transition_curves(student, teacher, points[1:2], labels[1:2], steps=3)
    torch.testing.assert_close(once[0][1:2], alone[0])


def test_the_transition_error_is_zero_for_a_perfect_match_and_grows_with_the_gap():
    teacher = linear([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    points = torch.tensor([[1.0, 0.2], [0.0, 1.0], [0.1, -3.0]])
    labels = teacher(points).argmax(1)
    options = {"steps": 4, "lr": 0.5}
    assert mean_transition_error(teacher, teacher, points, labels, **options) == 0
    assert teacher.training  # looked at, and left as it was
    near, far = (linear((teacher.weight.data * scale).tolist()) for scale in (1.1, 3.0))
    errors = [mean_transition_error(net, teacher, points, labels, **options) for net in (near, far)]
    assert 0 < errors[0] < errors[1] < 1
    with pytest.raises(ValueError, match="no image that both networks classify right"):
        mean_transition_error(teacher, teacher, points, (labels + 1) % 3, **options)


def test_the_toys_points_hunt_for_disagreement_within_reach():
    teacher, student = linear([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.5]]), linear([[0.0, 0.0]] * 3)
    twin = linear([[0.0, 0.0]] * 3)
    start = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    begun = 3 * (2 * start.sigmoid() - 1)
    points, history = belief_matching_toy(
        student, teacher, start, rounds=1, point_steps=10, student_steps=2, lr=0.05
    )
    assert points.abs().max() < 3
    assert not torch.equal(student.weight, twin.weight)

    def gap(x):
        return losses.soft_targets(twin(x), teacher(x), 1.0).item()

    assert gap(points) > gap(begun)
    assert set(history[0]) >= {"adversarial", "soft"}
    belief_matching_toy(twin, teacher, start, rounds=10, point_steps=1, student_steps=20, lr=0.05)
    grid = torch.cartesian_prod(torch.linspace(-3, 3, 7), torch.linspace(-3, 3, 7))
    assert (twin(grid).argmax(1) == teacher(grid).argmax(1)).float().mean() > 0.85
