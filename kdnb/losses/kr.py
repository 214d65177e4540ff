"""KR (Liu et al. 2019): the distribution of a network's parameters as knowledge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses._arithmetic import nan_from, unit
from kdnb.losses.checks import (
    at_least_float32,
    check_lists,
    check_number,
    check_parameters,
    check_together,
)


def parameter_histogram(group: Sequence[Tensor], bins: int = 32, span: float = 3.0) -> Tensor:
    """A differentiable histogram of the parameters of a group of layers.

    Every tensor is divided by its root mean square, which removes the effect of a layer's fan-in.
    Each parameter is split between the two bins whose centres enclose it, in proportion to how near
    they are; parameters beyond the last centre count for the last bin.

    Args:
        group: parameter tensors of any shape; at least one, none of them empty.
        bins: the number of centres, evenly spaced from -span to span; at least 2.
        span: above 0, in root mean squares.

    Returns:
        (bins,) shares above 0 that add up to 1. The weight of one parameter is spread over all
        bins, so that an empty bin has a finite logarithm.

    Raises:
        ValueError: for an empty group or tensor, integers, fewer than 2 bins, or a wrong span.

    >>> parameter_histogram([torch.tensor([-1.0, 1.0, 1.0, 1.0])], bins=3, span=1.0)
    tensor([0.2667, 0.0667, 0.6667])
    """
    check_lists(group=group)
    check_parameters(**{f"group[{i}]": value for i, value in enumerate(group)})
    check_number(least=2, whole=True, bins=bins)
    check_number(above=0, span=span)
    values = [at_least_float32(value).flatten() for value in group]
    scaled = torch.cat([unit(value, 0) * math.sqrt(value.numel()) for value in values])
    position = ((scaled / span + 1) / 2 * (bins - 1)).clamp(0, bins - 1)
    lower = position.detach().nan_to_num().floor().clamp_max(bins - 2)
    share = position - lower
    counts = torch.zeros(bins, dtype=share.dtype, device=share.device)
    counts = counts.index_add(0, lower.long(), 1 - share).index_add(0, lower.long() + 1, share)
    return nan_from((counts + 1 / bins) / (len(share) + 1), scaled)


def parameter_distribution(
    student_groups: Sequence[Sequence[Tensor]],
    teacher_groups: Sequence[Sequence[Tensor]],
    bins: int = 32,
    kept: int = 16,
) -> Tensor:
    r"""Our reconstruction of KR (Liu et al. 2019, CVPR workshops): parameter distributions.

    It is based on the abstract alone: we do not know the details of the method's sparse recoding
    and its penalty on gradients. Results with this loss say nothing about the paper.

    .. math:: L = -\frac1G \sum_g \sum_{k \in K_g}
        \frac{p_{gk}}{\sum_{k' \in K_g} p_{gk'}} \log \frac{q_{gk}}{\sum_{k' \in K_g} q_{gk'}}

    This is the cross-entropy of histograms, p of the teacher's and q of the student's groups of
    layers (the survey's "multi-layer groups"). K_g holds the `kept` bins with most of the teacher's
    parameters. This sparse code of the distribution ignores the teacher's rare values. The layers
    of a group may differ in number and shape.

    Args:
        student_groups, teacher_groups: the same number of groups of parameters, such as the weights
            of the convolutions of one stage; see :func:`parameter_histogram`.
        bins: the number of bins of the histograms.
        kept: 2 <= kept <= bins.

    Returns:
        A scalar in nats. Its minimum, at equal histograms, is the mean entropy of the teacher's
        codes. It does not depend on a batch, so compute it once per update.

    Raises:
        ValueError: for different numbers of groups, a wrong `kept`, or input that
            :func:`parameter_histogram` rejects.

    Departures: only the paper's abstract and the survey's Table 1 (parameters' distribution,
    multi-layer group, cross-entropy) could be read. They give the three steps: aggregate a group's
    parameters into a distribution, recode it sparsely, compare by cross-entropy. The details (the
    histogram, the scale of each layer, the largest bins as the code) are our own choice. The
    paper's penalty on the gradients may differ.

    >>> group = [torch.tensor([-1.0, 1.0, 1.0, 1.0])]
    >>> parameter_distribution([group], [group], bins=3, kept=2)
    tensor(0.6172)
    """
    check_lists(student_groups=student_groups, teacher_groups=teacher_groups)
    check_number(least=2, whole=True, bins=bins)
    check_number(least=2, most=bins, whole=True, kept=kept)
    losses = []
    for student, teacher in zip(student_groups, teacher_groups, strict=True):
        p, q = parameter_histogram(teacher, bins), parameter_histogram(student, bins)
        check_together(student_groups=q, teacher_groups=p)
        largest = p.detach().topk(kept).indices
        code, answer = (share[largest] / share[largest].sum() for share in (p, q))
        losses.append(-(code * answer.log()).sum())
    return torch.stack(losses).mean()
