"""NST (Huang and Wang 2017): neuron selectivity transfer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kdnb.losses._arithmetic import product, unit
from kdnb.losses.adapters import to_common_size
from kdnb.losses.checks import at_least_float32, check_choice, check_maps, check_number


def neuron_selectivity(
    student_maps: Tensor,
    teacher_maps: Tensor,
    kernel: Literal["linear", "polynomial", "gaussian"] = "polynomial",
    degree: int = 2,
    offset: float = 0.0,
    bandwidth: float | None = None,
) -> Tensor:
    r"""Neuron selectivity transfer, NST (Huang and Wang 2017): MMD between normalised channels.

    .. math:: L = \frac1B \sum_b \frac{1}{C_T^2} \sum_{i,i'} k(t_i, t_{i'})
        + \frac{1}{C_S^2} \sum_{j,j'} k(s_j, s_{j'})
        - \frac{2}{C_T C_S} \sum_{i,j} k(t_i, s_j)

    where t_i and s_j are channels flattened over the positions and divided by their L2 norm, so the
    channels may differ in order and number. The kernels are x·y; (x·y + c)^d, with d = 2 and c = 0
    in the paper; exp(-|x - y|² / (2 sigma²)). The paper's factor of one half is left to the weight.
    Each Gram matrix is one batched product, (batch, C, C); no tensor of size B·C·C·H·W is formed.

    Args:
        student_maps, teacher_maps: (batch, channels, height, width). Widths may differ; different
            spatial sizes are pooled to the common one.
        kernel: "linear" (attention transfer without its last normalisation), "polynomial" or
            "gaussian".
        degree, offset: d and c of the polynomial kernel.
        bandwidth: sigma² of the Gaussian kernel; None takes each sample's mean squared distance
            over the teacher-student pairs, as a constant in the gradient.

    Returns:
        A scalar without unit, at least 0 up to rounding, 0 where the channels agree.

    Raises:
        ValueError: for wrong shapes, an unknown kernel, a degree below 1, an offset that is not
            finite, or a bandwidth that is not above 0.

    Departures: the authors' code leaves out the teacher's own term, which has no gradient for the
    student. The polynomial and linear forms are confirmed (authors' code; notes on the paper); the
    bandwidth rule is recalled, and we could not confirm which pairs it averages.

    >>> student, teacher = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]]]])
    >>> neuron_selectivity(student, teacher)
    tensor(2.)
    """
    check_maps("B", student_maps=student_maps, teacher_maps=teacher_maps)
    check_choice(("linear", "polynomial", "gaussian"), kernel=kernel)
    check_number(least=1, whole=True, degree=degree)
    check_number(offset=offset)
    if bandwidth is not None:
        check_number(above=0, bandwidth=bandwidth)
    student, teacher = to_common_size(
        at_least_float32(student_maps), at_least_float32(teacher_maps)
    )
    student, teacher = (unit(maps.flatten(2), 2) for maps in (student, teacher))
    if kernel == "linear":
        return (student.mean(dim=1) - teacher.mean(dim=1)).square().sum(dim=1).mean()
    pairs = ((teacher, teacher), (student, student), (teacher, student))
    grams = [product(a, b.mT) for a, b in pairs]
    if kernel == "polynomial":
        values = [(gram + offset) ** degree for gram in grams]
    else:
        squares = [
            (a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None] - 2 * gram).clamp_min(0)
            for (a, b), gram in zip(pairs, grams, strict=True)
        ]
        if bandwidth is None:
            scale = squares[2].detach().mean(dim=(1, 2), keepdim=True).clamp_min(1e-12)
        else:
            scale = torch.full_like(squares[2][:, :1, :1], bandwidth)
        values = [torch.exp(-square / (2 * scale)) for square in squares]
    own_teacher, own_student, cross = (value.mean(dim=(1, 2)) for value in values)
    return (own_teacher + own_student - 2 * cross).mean()
