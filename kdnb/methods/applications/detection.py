"""Detection in miniature: the class and box of one object, by the losses of Chen et al. (2017).

A full detector gives many such answers per picture, most of them background. Distillation changes
each in the same way: a soft class, and a box bounded by the teacher's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import bounded_regression, hard_loss, soft_targets
from kdnb.losses.checks import check_number
from kdnb.methods.offline.distil import distil, train
from kdnb.training import Fit, Recipe
from kdnb.training.metrics import outputs_for


class Localiser(nn.Module):
    """Images -> (batch, 4 + classes): the box of the object, then the logits of its class.

    Args:
        width: channels of the first of three layers.
        classes: number of object classes.
        side: side of the images, a multiple of 8.
    """

    def __init__(self, width: int = 8, classes: int = 10, side: int = 32) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                       nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]  # fmt: skip
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(widths[-1] * (side // 8) ** 2, 4 + classes)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 4 + classes): left, top, right and bottom in shares of the side, then logits."""
        return self.head(self.body(images))


def targets_of(boxes: Tensor, labels: Tensor) -> Tensor:
    """Boxes (N, 4) and labels (N,) as one tensor (N, 5), the format used in this module."""
    return torch.cat([boxes, labels[:, None].to(boxes.dtype)], 1)


def localisation_loss(answers: Tensor, targets: Tensor, box_weight: float = 10.0) -> Tensor:
    """Cross-entropy of the class, and the smooth L1 loss of the box.

    Args:
        answers: (batch, 4 + classes). targets: (batch, 5), of :func:`targets_of`.
        box_weight: weight of the boxes, whose errors are small numbers.
    """
    check_number(least=0, box_weight=box_weight)
    return hard_loss(answers[:, 4:], targets[:, 4].long()) + box_weight * _smooth(answers, targets)


def train_localiser(
    network: nn.Module,
    images: Tensor,
    boxes: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    box_weight: float = 10.0,
    seed: int = 0,
) -> Fit:
    """Train on true boxes and labels alone: a teacher, or a student without one."""

    def loss(answers: Tensor, targets: Tensor) -> Tensor:
        return localisation_loss(answers, targets, box_weight)

    return train(network, (images, targets_of(boxes, labels)), recipe, loss=loss, seed=seed)


def distil_localiser(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    boxes: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    box_weight: float = 10.0,
    bound_weight: float = 0.5,
    margin: float = 0.0,
    soft_weight: float = 0.5,
    temperature: float = 1.0,
    bounded: bool = True,
    seed: int = 0,
) -> Fit:
    r"""Distil an object's class and box (Chen et al. 2017).

    .. math:: L = (1 - \mu) H(y, q) + \mu T^2 \mathrm{KL}(p \,\|\, q)
        + \lambda \big(\mathrm{smooth}_{L1}(r^S - y) + \nu L_b(r^S, r^T, y)\big)

    Args:
        student, teacher: such as :class:`Localiser`.
        box_weight: lambda.
        bound_weight, margin: nu, and m of :func:`kdnb.losses.bounded_regression`.
        soft_weight, temperature: mu and T.
        bounded: if False, the teacher's box is the target of a plain regression: the control.

    Returns:
        The history and the student.

    Departures: there is one region per picture and it is never background, so the paper's class
    weights are 1 (:func:`kdnb.losses.weighted_soft_targets` has them). There are no region
    proposals and no hints. The weights 0.5 are recalled.
    """
    check_number(least=0, box_weight=box_weight, bound_weight=bound_weight)
    check_number(least=0, most=1, soft_weight=soft_weight)

    def loss(ours: Tensor, theirs: Tensor, targets: Tensor) -> Tensor:
        hard = hard_loss(ours[:, 4:], targets[:, 4].long())
        soft = soft_targets(ours[:, 4:], theirs[:, 4:], temperature)
        if bounded:
            bound = bounded_regression(ours[:, :4], theirs[:, :4], targets[:, :4], margin)
        else:
            bound = (ours[:, :4] - theirs[:, :4]).square().sum(1).mean()
        boxes_loss = _smooth(ours, targets) + bound_weight * bound
        return (1 - soft_weight) * hard + soft_weight * soft + box_weight * boxes_loss

    data: Any = (images, targets_of(boxes, labels))
    return distil(student, teacher, data, recipe, method=loss, label_weight=0.0, seed=seed)


def _smooth(answers: Tensor, targets: Tensor) -> Tensor:
    return F.smooth_l1_loss(answers[:, :4], targets[:, :4], beta=0.1)


def localisation_scores(
    network: nn.Module, images: Tensor, boxes: Tensor, labels: Tensor, least_iou: float = 0.5
) -> dict[str, float]:
    """Measure how well objects are found, in eval mode: shares and means over the pictures.

    Returns:
        `found`: the share of objects whose class is right and whose box has an IoU of `least_iou`
        or more with the true one; `iou`, the mean; `accuracy` of the class alone.
    """
    check_number(least=0, most=1, least_iou=least_iou)
    answers = outputs_for(network, images)
    overlap = box_overlap(answers[:, :4], boxes)
    right = answers[:, 4:].argmax(1) == labels
    return {
        "found": float((right & (overlap >= least_iou)).float().mean()),
        "iou": float(overlap.mean()),
        "accuracy": float(right.float().mean()),
    }


def box_overlap(ours: Tensor, theirs: Tensor) -> Tensor:
    """The IoU of boxes row by row, (N,): the area of their intersection over that of their union.

    >>> box_overlap(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[0.5, 0.0, 1.5, 1.0]]))
    tensor([0.3333])
    """
    first, last = torch.maximum(ours, theirs)[:, :2], torch.minimum(ours, theirs)[:, 2:]
    common = (last - first).clamp_min(0).prod(1)
    areas = [(one[:, 2:] - one[:, :2]).clamp_min(0).prod(1) for one in (ours, theirs)]
    return common / (areas[0] + areas[1] - common).clamp_min(1e-12)
