"""Anomaly detection by uninformed students (Bergmann et al. 2020): no anomaly is seen in training.

A teacher that was trained on other images describes every place of an image. Students learn its descriptions on
normal images alone. Where they are wrong, or disagree, the image is not like those they know.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdnb.losses import anomaly_maps, descriptor_regression, standardised
from kdnb.losses.checks import check_classes, check_lists, check_scores
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe
from kdnb.training.metrics import outputs_for


@dataclass(frozen=True)
class Detector:
    """A teacher, its students, and what their maps are on normal images.

    Attributes:
        teacher: images -> descriptors (batch, channels, height, width).
        mean, sd: (channels,), of the descriptors over the training images.
        students: that have learnt the standardised descriptors.
        scales: mean and standard deviation of error and of disagreement over held-out normal places.
    """

    teacher: nn.Module
    mean: Tensor
    sd: Tensor
    students: list[nn.Module]
    scales: tuple[tuple[float, float], tuple[float, float]]

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Error and disagreement of every place, (N, height, width) each."""
        theirs = standardised(outputs_for(self.teacher, images), self.mean, self.sd)
        return anomaly_maps([outputs_for(one, images) for one in self.students], theirs)

    def places(self, images: Tensor) -> Tensor:
        """How anomalous each place is, (N, height, width): both maps, each by its scale, added."""
        found = zip(self.maps(images), self.scales, strict=True)
        return sum((one - mean) / sd for one, (mean, sd) in found)

    def scores(self, images: Tensor) -> Tensor:
        """How anomalous each image is, (N,): the mean over its places."""
        return self.places(images).mean((1, 2))


def uninformed_students(
    teacher: nn.Module,
    students: list[nn.Module],
    normal: Tensor,
    held_out: Tensor,
    recipe: Recipe,
    *,
    seed: int = 0,
) -> Detector:
    """Teach students a teacher's descriptors of normal images.

    Args:
        teacher: images -> (batch, channels, height, width), such as the first layers of a trained network. Left
            as it is, asked once.
        students: of the same output shape, with initial weights that differ; trained in place.
        normal: (N, ...) images without labels.
        held_out: other normal images, on which both maps get their scales.
        seed: of the orders; each student has its own.

    Departures: the paper's teacher describes patches of several sizes and is itself distilled from a network of
    ImageNet; here one network is given. The students' shapes are the caller's.
    """
    check_lists(1, students=students)
    described = outputs_for(teacher, normal)
    flat = described.transpose(0, 1).flatten(1)
    mean, sd = flat.mean(1), flat.std(1)
    targets = standardised(described, mean, sd)
    for number, student in enumerate(students):
        train(
            student,
            (normal, targets),
            recipe,
            loss=descriptor_regression,
            seed=seed + 1000 * number,
        )
    plain = ((0.0, 1.0), (0.0, 1.0))
    found = Detector(teacher, mean, sd, students, plain).maps(held_out)
    scales = tuple((float(one.mean()), max(float(one.std()), 1e-12)) for one in found)
    return Detector(teacher, mean, sd, students, scales)


def ranking_area(scores: Tensor, anomalous: Tensor) -> float:
    """AUROC: how often an anomalous image has a higher score than a normal one; a tie counts one half.

    Args:
        scores: (N,). anomalous: (N,) integers, 1 for an anomaly and 0 for a normal image, both present.

    >>> ranking_area(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([0, 0, 1, 1]))
    0.875
    """
    check_scores(scores=scores)
    check_classes(len(scores), whole=True, anomalous=anomalous)
    strange, usual = scores[anomalous == 1].double(), scores[anomalous == 0].double()
    if len(strange) + len(usual) != len(scores) or not len(strange) or not len(usual):
        raise ValueError("anomalous must hold 0 and 1, and both of them.")
    usual = usual.sort().values
    below = torch.searchsorted(usual, strange)
    up_to = torch.searchsorted(usual, strange, right=True)
    return float((below + up_to).double().mean() / 2 / len(usual))
