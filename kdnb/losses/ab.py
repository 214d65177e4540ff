"""AB (Heo et al. 2019a): activation boundary transfer, and the layer weights of AB and OFD."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import Variant, at_least_float32, check_maps, check_number, check_variant


def depth_weights(layers: int) -> list[float]:
    """The authors' layer weights in AB and OFD: 1 for the last layer, halved for each earlier one.

    Args:
        layers: the number of layers, at least 1.

    Raises:
        ValueError: for fewer.

    >>> depth_weights(3)
    [0.25, 0.5, 1.0]
    """
    check_number(least=1, whole=True, layers=layers)
    return [2.0 ** (layer - layers + 1) for layer in range(layers)]


def activation_boundary(
    student_responses: Tensor,
    teacher_responses: Tensor,
    margin: float = 1.0,
    variant: Variant = "paper",
) -> Tensor:
    r"""Activation-boundary transfer, AB (Heo 2019a, equation 5): match the signs, by a hinge.

    .. math:: L = \frac1B \sum_b \big\lVert \rho(T) \odot \sigma(\mu 1 - S)
        + (1 - \rho(T)) \odot \sigma(\mu 1 + S) \big\rVert_2^2

    with sigma the ReLU and rho(T) = 1 where T > 0. Responses are taken before the ReLU. Only the
    sign of the teacher's responses matters. The paper uses it to initialise the student, which then
    learns its task: `kdnb.distil(..., method="ab_stage1")`, then `kdnb.train` or `kdnb.distil`.

    Args:
        student_responses: (batch, channels, height, width), after a connector if widths differ
            (:class:`~kdnb.losses.adapters.PointwiseAdapter`, `normalise=True`).
        teacher_responses: the same shape.
        margin: mu > 0, how far beyond the boundary the student has to be; 1 throughout the paper.
        variant: "authors" multiplies by 3/1000, as their CIFAR script does (their scripts for
            transfer learning divide by 1000); layers are weighted by :func:`depth_weights`.

    Returns:
        A scalar, 0 where every neuron is on the teacher's side by the margin. A student equal to
        the teacher still pays for responses nearer to 0 than the margin.

    Raises:
        ValueError: for wrong or mismatched shapes, or a margin that is not above 0.

    >>> activation_boundary(torch.full((1, 1, 1, 1), -0.5), torch.ones(1, 1, 1, 1))
    tensor(2.2500)
    """
    check_variant(variant)
    check_maps(student_responses=student_responses, teacher_responses=teacher_responses)
    check_number(above=0, margin=margin)
    student = at_least_float32(student_responses)
    side = torch.where(teacher_responses > 0, 1.0, -1.0).to(student.dtype)
    loss = (margin - side * student).relu().square().flatten(1).sum(dim=1).mean()
    loss = nan_from(loss, teacher_responses)
    return loss * 3 / 1000 if variant == "authors" else loss
