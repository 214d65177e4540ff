"""Learned widths (Gu and Tresp 2020): the cost of keeping a channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_lists, check_number, check_vectors


def gate_penalty(gates: Sequence[Tensor], costs: Sequence[float]) -> Tensor:
    r"""The L1 norm of channel gates, weighted by the cost of a channel (Gu and Tresp 2020).

    .. math:: \Omega = \frac{\sum_l c_l \lVert \beta_l \rVert_1}{\sum_l c_l C_l}

    with the gates beta of a layer, its C channels, and the cost c of one, such as its parameters.
    It is differentiable in the gates. Added to a distillation loss, it drives gates to 0 whose
    channels are not needed for the teacher's answers.

    Args:
        gates: one tensor (channels,) per layer, of any width.
        costs: the cost of one channel of each layer, above 0, in any unit.

    Returns:
        A scalar without unit: the cost-weighted mean size of a gate; 1 if all gates are 1.

    Raises:
        ValueError: for no layer, a wrong number of costs, or a cost that is not above 0.

    Departures: the paper's abstract has the L1 norm of a selection within the teacher's graph,
    together with the divergence from its answers. Selecting channels, and the costs, are ours.

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
