"""Widths that are learnt (Gu and Tresp 2020): the price of keeping a channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_lists, check_number, check_vectors


def gate_penalty(gates: Sequence[Tensor], costs: Sequence[float]) -> Tensor:
    r"""The L1 norm of gates on channels, weighted by what a channel of each layer costs.

    .. math:: \Omega = \frac{\sum_l c_l \lVert \beta_l \rVert_1}{\sum_l c_l C_l}

    with the gates beta of a layer, its C channels, and the cost c of one, such as its parameters.
    Added to a distillation loss it is differentiable in the gates, and drives those to 0 that the
    teacher's answers do not need.

    Args:
        gates: of each layer (channels,); any widths.
        costs: of one channel of each layer, above 0, in any unit.

    Returns:
        A scalar without unit: the mean size of a gate, each weighted by its cost; 1 where all are
        1.

    Raises:
        ValueError: for no layer, another number of costs, or a cost that is not above 0.

    Departures: the paper's abstract has the L1 norm of a choice within the teacher's graph, under
    the divergence from its answers. That the choice is of channels, and the costs, are ours.

    >>> gate_penalty([torch.tensor([1.0, -1.0]), torch.tensor([0.0])], (1.0, 2.0))
    tensor(0.5000)
    """
    check_lists(gates=gates, costs=costs)
    for layer, cost in zip(gates, costs, strict=True):
        check_vectors(gates=layer)
        check_number(above=0, costs=cost)
    if len({layer.device for layer in gates}) > 1:
        raise ValueError("gates must lie on one device.")
    sizes = torch.stack([c * at_least_float32(b).abs().sum() for b, c in zip(gates, costs, strict=True)])  # fmt: skip
    return sizes.sum() / sum(c * len(b) for b, c in zip(gates, costs, strict=True))
