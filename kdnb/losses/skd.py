"""Structured distillation for dense prediction (Liu et al. 2019): pixel-wise and pair-wise."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import divergence, no_autocast, unit
from kdnb.losses.checks import (
    at_least_float32,
    check_maps,
    check_number,
)


def pixel_wise(student_maps: Tensor, teacher_maps: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Pixel-wise distillation (Liu 2019): soft targets at every position of dense logits.

    .. math:: L = \frac{T^2}{BHW} \sum_b \sum_i \mathrm{KL}\big(p_{bi} \,\|\, q_{bi}\big)

    with the softened class probabilities p of the teacher and q of the student at position i. The
    divergence is summed over the classes; a mean over them would divide the loss by their number.

    Args:
        student_maps, teacher_maps: logits (batch, classes, height, width), of the same shape.
        temperature: T > 0.

    Returns:
        A scalar in nats, at least 0; 0 where the probabilities agree everywhere.

    Raises:
        ValueError: for wrong shapes, or a temperature that is not above 0.

    Departures: the direction (teacher first) and the temperature follow the workbook; the authors'
    code minimises the cross-entropy with the teacher's probabilities at T = 1, which has the same
    gradient. The paper's equation is recalled.

    >>> student, teacher = torch.zeros(1, 2, 1, 1), torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    >>> pixel_wise(student, teacher)
    tensor(0.3278)
    """
    check_maps(student_maps=student_maps, teacher_maps=teacher_maps)
    check_number(above=0, temperature=temperature)
    student, teacher = at_least_float32(student_maps), at_least_float32(teacher_maps)
    return temperature**2 * divergence(teacher, student, temperature).mean()


def pair_wise(student_maps: Tensor, teacher_maps: Tensor, nodes: int = 8) -> Tensor:
    r"""Pair-wise distillation (Liu 2019): which positions of an image look alike.

    .. math:: L = \frac{1}{B n^2} \sum_b \sum_{i,j} \big(a^S_{ij} - a^T_{ij}\big)^2, \qquad
        a_{ij} = \frac{f_i^\top f_j}{\lVert f_i \rVert_2 \lVert f_j \rVert_2}

    with the features f of n nodes, the positions of the maps after average pooling.

    Args:
        student_maps, teacher_maps: (batch, channels, height, width); channels and resolutions may
            differ.
        nodes: the side of the pooled maps, so n is at most its square: the loss needs memory for n²
            pairs per image. Smaller maps are not pooled, except that the student's are brought to
            the teacher's size.

    Returns:
        A scalar without unit, between 0 and 4; 0 where all cosines agree. It is invariant to
        rotations of the channels and to the scale of a position.

    Raises:
        ValueError: for wrong shapes or batch sizes, or fewer than 1 node.

    Departures: the authors' code uses max-pooling. The paper's equation is recalled.

    >>> student = torch.tensor([[1.0, 1.0]]).view(1, 1, 1, 2)
    >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    >>> pair_wise(student, teacher)
    tensor(0.5000)
    """
    check_maps("B", student_maps=student_maps, teacher_maps=teacher_maps)
    check_number(least=1, whole=True, nodes=nodes)
    sizes = zip(student_maps.shape[2:], teacher_maps.shape[2:], strict=True)
    shape = tuple(min(int(nodes), *both) for both in sizes)
    ours, theirs = (_similarities(maps, shape) for maps in (student_maps, teacher_maps))
    return (ours - theirs).square().mean()


def _similarities(maps: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(batch, n, n) cosines of the positions of pooled maps."""
    pooled = F.adaptive_avg_pool2d(at_least_float32(maps), shape).flatten(2)
    directions = unit(pooled, 1)
    with no_autocast(directions):
        return directions.transpose(1, 2) @ directions
