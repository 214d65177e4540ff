"""ICKD (Liu et al. 2021): the correlation between the channels of a layer."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import product, unit
from kdnb.losses.checks import Variant, at_least_float32, check_channels, check_maps, check_variant


def inter_channel_correlation(
    student: Tensor, teacher: Tensor, variant: Variant = "paper"
) -> Tensor:
    r"""Inter-channel correlation (Liu 2021, ICKD-C).

    .. math:: L = \frac{1}{B C^2} \sum_b \lVert F^S_b {F^S_b}^\top - F^T_b {F^T_b}^\top \rVert_F^2

    with each map flattened to F of shape (C, H W).

    Args:
        student, teacher: maps with the same number of channels (the paper adapts the student's with
            a 1x1 convolution). Height and width may differ; the paper's sum grows with them.
        variant: "authors" makes the rows of each C x C matrix unit vectors and divides by C B.

    Returns:
        A scalar, averaged over the batch.

    Raises:
        ValueError: if an argument is not a map, or batch sizes or channels differ.

    Departures: the paper's equation is recalled; the authors' variant was read in public copies
    of their code. A channel that is all 0 gives no gradient there.

    >>> student, teacher = torch.ones(1, 2, 1, 1), torch.tensor([[[[1.0]], [[0.0]]]])
    >>> inter_channel_correlation(student, teacher)
    tensor(0.7500)
    """
    check_variant(variant)
    check_maps("B", student=student, teacher=teacher)
    check_channels(student=student, teacher=teacher)
    grams = []
    for maps in (student, teacher):
        flat = at_least_float32(maps).flatten(2)
        gram = product(flat, flat.transpose(1, 2))
        grams.append(unit(gram, dim=2) if variant == "authors" else gram)
    mean = F.mse_loss(*grams)
    return mean * student.shape[1] if variant == "authors" else mean
