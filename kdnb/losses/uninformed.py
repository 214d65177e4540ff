"""Uninformed students (Bergmann et al. 2020): anomalies are what students cannot imitate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses.checks import (
    at_least_float32,
    check_channels,
    check_lists,
    check_maps,
    check_together,
    check_vectors,
)


def descriptor_regression(student_maps: Tensor, teacher_maps: Tensor) -> Tensor:
    r"""Regression of the teacher's descriptors on normal images (Bergmann 2020).

    .. math:: L = \frac{1}{BHW} \sum_b \sum_i \lVert f^S_{bi} - f^T_{bi} \rVert_2^2

    Args:
        student_maps, teacher_maps: (batch, channels, height, width), of the same shape. The
            teacher's should have mean 0 and standard deviation 1 in every channel over the normal
            images (:func:`standardised`).

    Returns:
        A scalar, the mean over positions of the error summed over channels, in squared units of the
        teacher's maps.

    Raises:
        ValueError: for wrong shapes.

    Departures: recalled; the paper's text was not available.

    >>> descriptor_regression(torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1))
    tensor(2.)
    """
    check_maps("BHW", student_maps=student_maps, teacher_maps=teacher_maps)
    check_channels(student_maps=student_maps, teacher_maps=teacher_maps)
    difference = at_least_float32(student_maps) - at_least_float32(teacher_maps)
    return difference.square().sum(1).mean()


def anomaly_maps(students_maps: Sequence[Tensor], teacher_maps: Tensor) -> tuple[Tensor, Tensor]:
    r"""Anomaly scores of each position: the students' error and disagreement (Bergmann 2020).

    .. math:: e_i = \Big\lVert \frac1M \sum_m f^m_i - f^T_i \Big\rVert_2^2, \qquad
        v_i = \frac1M \sum_m \lVert f^m_i \rVert_2^2 - \Big\lVert \frac1M \sum_m f^m_i
        \Big\rVert_2^2

    Students have imitated the teacher only on normal images. Elsewhere they are wrong, each in its
    own way.

    Args:
        students_maps: M tensors (batch, channels, height, width).
        teacher_maps: of the same shape.

    Returns:
        (error, disagreement), each (batch, height, width), at least 0, in squared units of the
        maps. The paper adds the two after normalising each to mean 0 and standard deviation 1 on
        held-out normal images. The disagreement of a single student is 0.

    Raises:
        ValueError: for wrong shapes, or no student.

    Departures: recalled; public re-implementations take the root of the error.

    >>> one, other = torch.ones(1, 1, 1, 1), -torch.ones(1, 1, 1, 1)
    >>> [found.item() for found in anomaly_maps([one, other], 3 * one)]
    [9.0, 1.0]
    """
    check_lists(1, students_maps=students_maps)
    for one in students_maps:
        check_maps("BHW", students_maps=one, teacher_maps=teacher_maps)
        check_channels(students_maps=one, teacher_maps=teacher_maps)
    students = torch.stack([at_least_float32(one) for one in students_maps])
    mean = students.mean(0)
    error = (mean - at_least_float32(teacher_maps)).square().sum(1)
    return error, (students - mean).square().sum(2).mean(0)


def standardised(maps: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    r"""Descriptors with mean 0 and deviation 1 in every channel: :math:`(f - \mu) / \sigma`.

    Args:
        maps: (batch, channels, height, width).
        mean, sd: (channels,), over all positions of the normal training images. A channel of
            standard deviation 0, which carries no information there, is only centred.

    Raises:
        ValueError: for wrong shapes, or a negative standard deviation.

    >>> standardised(torch.full((1, 2, 1, 1), 3.0), torch.tensor([1.0, 3.0]), torch.tensor([2.0, 0.0])).flatten()
    tensor([1., 0.])
    """
    check_maps(maps=maps)
    check_vectors(maps.shape[1], mean=mean, sd=sd)
    check_together(maps=maps, mean=mean)
    if bool((sd < 0).any()):
        raise ValueError("sd must hold standard deviations, at least 0; got a negative one.")
    divisor = sd.masked_fill(sd == 0, 1)
    return (at_least_float32(maps) - mean[:, None, None]) / divisor[:, None, None]
