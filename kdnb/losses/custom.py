"""Customised amalgamation (Shen et al. 2019, ICCV): least ambiguous teachers, unit adaptors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_lists, check_logits, check_parameters


def least_ambiguous(teacher_logits: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    r"""For each sample, the teacher's answer with the lowest entropy (Shen 2019).

    .. math:: m^*(x) = \arg\min_m H(p_m(x))

    Args:
        teacher_logits: M tensors (batch, classes), over the same classes.

    Returns:
        The chosen logits (batch, classes) and the index of the chosen teacher (batch,). Ties go to
        the first teacher.

    Raises:
        ValueError: for no teacher, or shapes that differ.

    >>> unsure, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    >>> least_ambiguous([unsure, sure])
    (tensor([[0., 4.]]), tensor([1]))
    """
    check_lists(teacher_logits=teacher_logits)
    check_logits(**{f"teacher_logits[{i}]": one for i, one in enumerate(teacher_logits)})
    stacked = torch.stack([at_least_float32(one) for one in _of_one_type(teacher_logits)])
    log_p = stacked.detach().log_softmax(2)
    # A NaN is selected rather than skipped: argmin treats it as the minimum.
    chosen = -(log_p.exp() * log_p).sum(2)
    chosen = chosen.argmin(0)
    spoilt = stacked.detach().sum(dim=(0, 2)).isnan()[:, None]
    picked = stacked[chosen, torch.arange(stacked.shape[1], device=stacked.device)]
    return picked.masked_fill(spoilt, torch.nan), chosen


def unit_filters(weight: Tensor) -> Tensor:
    r"""The penalty :math:`(\lVert w \rVert^2 - 1)^2`, averaged over the filters of a layer.

    It keeps two learned adaptors from matching features by shrinking both to zero.

    Args:
        weight: (filters, ...).

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: for a tensor of fewer than two dimensions, or an empty one.

    >>> unit_filters(torch.tensor([[0.6, 0.8], [0.0, 2.0]]))
    tensor(4.5000)
    """
    check_parameters(weight=weight)
    if weight.ndim < 2:
        raise ValueError(f"weight must be (filters, ...); got {tuple(weight.shape)}.")
    return (at_least_float32(weight).flatten(1).square().sum(1) - 1).square().mean()


def _of_one_type(tensors: Sequence[Tensor]) -> list[Tensor]:
    widest = tensors[0].dtype
    for one in tensors:
        widest = torch.promote_types(widest, one.dtype)
    return [one.to(widest) for one in tensors]
