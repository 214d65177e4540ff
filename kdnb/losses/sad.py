"""SAD (Hou et al. 2019): each layer's attention imitates that of the next deeper layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.at import attention_map
from kdnb.losses.checks import at_least_float32, check_lists, check_maps, check_number


def spatial_attention(maps: Tensor, size: Sequence[int] | None = None) -> Tensor:
    r"""SAD's attention (Hou 2019): the spatial softmax of summed squares, at a common size.

    .. math:: \Psi(A) = \Phi(\mathcal{B}(\textstyle\sum_c |A_c|^2))

    with bilinear upsampling B and spatial softmax Φ (section 3.1).

    Args:
        maps: (batch, channels, height, width).
        size: (height, width) of the result; that of the maps if None.

    Returns:
        (batch, height, width), non-negative, summing to 1 over the positions.

    Raises:
        ValueError: for wrong shapes, or a size that is not two numbers of at least 1.
    """
    attention = attention_map(maps)
    if size is not None:
        check_lists(count=2, size=size)
        check_number(least=1, whole=True, **{"size[0]": size[0], "size[1]": size[1]})
    if size is not None and tuple(size) != tuple(attention.shape[1:]):
        enlarged = F.interpolate(
            attention[:, None], size=tuple(size), mode="bilinear", align_corners=False
        )
        attention = enlarged[:, 0]
    return attention.flatten(1).softmax(1).view_as(attention)


def self_attention(maps: Sequence[Tensor]) -> Tensor:
    r"""Self-attention distillation (Hou 2019): imitate the attention of the next deeper layer.

    .. math:: L = \sum_{m=1}^{M-1} L_d(\Psi(A_m), \Psi(A_{m+1})), \quad
        L_d(a, b) = \frac{1}{B} \sum_b \lVert a_b - b_b \rVert_2^2

    (equation 2).

    Args:
        maps: M >= 2 feature maps (batch, channels, height, width), shallow to deep; the smaller
            attention map of each pair is upsampled to the other's size.

    Returns:
        A scalar without unit, at most 2 for each pair.

    Raises:
        ValueError: for fewer than two maps, or wrong shapes.

    Departures: the target, the deeper map, gets no gradient, and L_d is a sum over positions, where
    the authors' code takes the mean over all of them (cardwing/Codes-for-Lane-Detection,
    `MSECriterion`).

    >>> self_attention([torch.ones(1, 3, 2, 2), torch.ones(1, 5, 1, 1)])
    tensor(0.)
    """
    check_lists(2, maps=maps)
    check_maps("B", **{f"maps[{number}]": value for number, value in enumerate(maps)})
    total = at_least_float32(maps[0]).new_zeros(())
    for shallow, deep in pairwise(maps):
        size = [max(a, b) for a, b in zip(shallow.shape[2:], deep.shape[2:], strict=True)]
        apart = spatial_attention(shallow, size) - spatial_attention(deep.detach(), size)
        total = total + apart.square().sum((1, 2)).mean()
    return total
