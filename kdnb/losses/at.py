"""AT: attention transfer (Zagoruyko and Komodakis 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import unit
from kdnb.losses.adapters import to_common_size
from kdnb.losses.checks import Variant, at_least_float32, check_maps, check_number, check_variant


def attention_map(maps: Tensor, power: float = 2.0) -> Tensor:
    """The spatial attention of Zagoruyko 2017: sum over channels of |A|^power, (batch, H, W).

    >>> attention_map(torch.tensor([[[[1.0, 2.0]], [[0.0, -2.0]]]]))
    tensor([[[1., 8.]]])
    """
    check_maps(maps=maps)
    check_number(least=1, power=power)
    return at_least_float32(maps).abs().pow(power).sum(dim=1)


def attention_transfer(
    student_maps: Tensor,
    teacher_maps: Tensor,
    power: float = 2.0,
    variant: Variant = "paper",
) -> Tensor:
    r"""Activation-based attention transfer (Zagoruyko and Komodakis 2017, equation 2).

    .. math:: L = \frac1B \sum_b \Big\lVert \frac{Q_S}{\lVert Q_S \rVert_2}
        - \frac{Q_T}{\lVert Q_T \rVert_2} \Big\rVert_2,
        \quad Q = \mathrm{vec}\Big(\sum_c |A_c|^p\Big)

    for one pair of layers. The paper sums over pairs, times half its weight (10^3 divided by the
    number of elements and the batch).

    Args:
        student_maps, teacher_maps: (batch, channels, height, width). Widths may differ, as the
            channels are summed; other spatial sizes are pooled to the common one.
        power: p, at least 1; 2 in the paper's experiments.
        variant: "authors" is the mean of the squared differences over batch and positions, used
            with a weight of 1000. The effect of this weight thus depends on height times width.

    Returns:
        A scalar without unit, between 0 and the square root of 2 (in the paper's form).

    Raises:
        ValueError: for wrong shapes, or a power below 1.

    Departures: the norm is squared in the authors' code, but not in the paper. At equal maps the
    norm has no gradient; 0 is used.

    >>> student, teacher = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]]]])
    >>> attention_transfer(student, teacher)
    tensor(1.4142)
    """
    check_variant(variant)
    check_maps("B", student_maps=student_maps, teacher_maps=teacher_maps)
    check_number(least=1, power=power)
    student, teacher = to_common_size(
        at_least_float32(student_maps), at_least_float32(teacher_maps)
    )
    student, teacher = (
        unit(attention_map(unit(maps, (1, 2, 3)), power).flatten(1), 1)
        for maps in (student, teacher)
    )
    if variant == "authors":
        return (student - teacher).square().mean()
    return torch.linalg.vector_norm(student - teacher, dim=1).mean()
