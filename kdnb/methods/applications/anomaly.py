"""Anomaly detection by uninformed students (Bergmann et al. 2020): no anomaly is seen in training.

A teacher trained on other images computes a descriptor for every position of an image. Students
learn these descriptors on normal images alone. Positions where they are wrong or disagree are
unlike normal images.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from kdnb.losses import anomaly_maps, descriptor_regression, standardised
from kdnb.losses.checks import check_lists
from kdnb.methods.offline.distil import train
from kdnb.training import Recipe
from kdnb.training.metrics import outputs_for, ranking_area

__all__ = ["Detector", "ranking_area", "uninformed_students"]


@dataclass(frozen=True)
class Detector:
    """A teacher, its students, and the statistics of their maps on normal images.

    Attributes:
        teacher: images -> descriptors (batch, channels, height, width).
        mean, sd: (channels,), of the descriptors over the training images.
        students: networks that have learnt the standardised descriptors.
        scales: mean and standard deviation of error and of disagreement over positions of held-out
            normal images.
    """

    teacher: nn.Module
    mean: Tensor
    sd: Tensor
    students: list[nn.Module]
    scales: tuple[tuple[float, float], tuple[float, float]]

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Error and disagreement of every position, (N, height, width) each."""
        theirs = standardised(outputs_for(self.teacher, images), self.mean, self.sd)
        return anomaly_maps([outputs_for(one, images) for one in self.students], theirs)

    def places(self, images: Tensor) -> Tensor:
        """The anomaly score of each position, (N, height, width): the normalised maps' sum."""
        found = zip(self.maps(images), self.scales, strict=True)
        return sum((one - mean) / sd for one, (mean, sd) in found)

    def scores(self, images: Tensor) -> Tensor:
        """The anomaly score of each image, (N,): the mean over its positions."""
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
        teacher: images -> (batch, channels, height, width), such as the first layers of a trained
            network. It is left unchanged and evaluated once.
        students: of the same output shape, with initial weights that differ; trained in place.
        normal: (N, ...) images without labels.
        held_out: other normal images, used to compute the scales of both maps.
        seed: for the orders; each student has its own.

    Departures: the paper's teacher describes patches of several sizes and is itself distilled from
    an ImageNet network; here a single network is given. The caller chooses the students'
    architecture.
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
