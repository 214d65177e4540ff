"""Localisation: overlaps by hand, a bound that a bad teacher does not break, and the terms of the loss."""

import pytest
import torch

from kdnb import Recipe, losses
from kdnb.methods.applications.detection import (
    Localiser,
    box_overlap,
    distil_localiser,
    localisation_loss,
    localisation_scores,
    targets_of,
    train_localiser,
)

PLAN = Recipe(epochs=25, batch_size=16, optimiser="adam", lr=0.01, precision="32")


def pictures(count=48, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.randn(count, 3, 8, 8, generator=generator)
    boxes, labels = torch.zeros(count, 4), torch.arange(count) % 2
    for row in range(count):
        y, x = torch.randint(0, 5, (2,), generator=generator).tolist()
        images[row, row % 2, y : y + 4, x : x + 4] += 1
        boxes[row] = torch.tensor([x, y, x + 4, y + 4]) / 8
    return images, boxes, labels


def net(seed, width=4):
    torch.manual_seed(seed)
    return Localiser(width, 2, 8)


class Constant(torch.nn.Module):
    """A teacher that always answers the same."""

    def __init__(self, answer):
        super().__init__()
        self.answer = torch.nn.Parameter(torch.tensor(answer))

    def forward(self, images):
        return self.answer.expand(len(images), -1)


def test_overlaps_by_hand():
    unit = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(4, 1)
    others = torch.tensor(
        [[0.0, 0, 1, 1], [0.5, 0.5, 1.5, 1.5], [2.0, 2, 3, 3], [0.25, 0.25, 0.75, 0.75]]
    )
    torch.testing.assert_close(box_overlap(unit, others), torch.tensor([1, 0.25 / 1.75, 0, 0.25]))
    torch.testing.assert_close(box_overlap(others, unit), box_overlap(unit, others))
    upside_down = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert box_overlap(upside_down, unit[:1]) == 0


def test_overlaps_are_those_of_torchvision():
    from torchvision.ops import box_iou

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 20, 4, generator=generator)
    ours, theirs = torch.cat([corners[..., :2], corners[..., :2] + corners[..., 2:]], -1)
    torch.testing.assert_close(box_overlap(ours, theirs), box_iou(ours, theirs).diagonal())


def test_a_network_learns_boxes_and_classes():
    images, boxes, labels = pictures()
    network = net(0)
    train_localiser(network, images, boxes, labels, PLAN)
    found = localisation_scores(network, images, boxes, labels)
    assert found["accuracy"] > 0.9 and found["iou"] > 0.5 and found["found"] > 0.5
    assert localisation_scores(network, images, boxes, 1 - labels)["found"] < 0.1
    with pytest.raises(ValueError, match="least_iou"):
        localisation_scores(network, images, boxes, labels, least_iou=2.0)


def test_the_loss_by_hand():
    answers = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    targets = targets_of(torch.tensor([[0.5, 0.0, 0.0, 0.0]]), torch.tensor([1]))
    # The smooth L1 loss with its knee at 0.1: |0.5| - 0.05, a mean of four.
    assert localisation_loss(answers, targets, 8.0).item() == pytest.approx(
        0.6931 + 2 * 0.45, abs=1e-4
    )


def test_a_teacher_of_wrong_boxes_is_a_bound_and_no_target():
    """Its boxes are far off: as targets they spoil the student's, as a bound they do nothing."""
    images, boxes, labels = pictures()
    wrong = Constant([9.0, 9.0, 10.0, 10.0, 0.0, 0.0])
    overlap = {}
    for bounded in (True, False):
        student = net(1)
        distil_localiser(
            student, wrong, images, boxes, labels, PLAN, bounded=bounded, soft_weight=0.0
        )
        overlap[bounded] = localisation_scores(student, images, boxes, labels)["iou"]
    assert overlap[True] > 0.5 and overlap[False] < 0.1


def test_the_bound_costs_where_the_student_is_worse():
    images, boxes, labels = pictures(16)
    perfect = Constant([*boxes[0].tolist(), 0.0, 0.0])
    still = Recipe(epochs=1, batch_size=16, optimiser="sgd", lr=1e-12, precision="32")
    same = boxes[:1].expand(16, -1)
    rows = [
        distil_localiser(
            net(2), perfect, images, same, labels, still, bound_weight=weight, soft_weight=0.0
        ).history.iloc[0]
        for weight in (0.0, 1.0)
    ]
    network = net(2).train()
    with torch.no_grad():
        bound = losses.bounded_regression(network(images)[:, :4], same, same)
    values = [row.drop("lr", errors="ignore").loss for row in rows]
    assert values[1] - values[0] == pytest.approx(10 * bound.item(), rel=1e-3)
