"""The mean of several networks' probabilities: plain or weighted, arithmetic or geometric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses.checks import (
    at_least_float32,
    check_choice,
    check_lists,
    check_logits,
    check_parameters,
    check_together,
)

Mean = Literal["arithmetic", "geometric"]


def ensemble_log_probabilities(
    logits: Sequence[Tensor], weights: Tensor | None = None, mean: Mean = "arithmetic"
) -> Tensor:
    r"""The log of the mean of K networks' probabilities.

    .. math:: \bar p = \sum_k w_k p_k \quad\text{or}\quad
        \bar p \propto \prod_k p_k^{w_k}, \qquad p_k = \mathrm{softmax}(z_k)

    The arithmetic mean is the distribution q that minimises
    :math:`\sum_k w_k \mathrm{KL}(p_k \| q)`; the geometric mean minimises
    :math:`\sum_k w_k \mathrm{KL}(q \| p_k)`. The geometric mean keeps only classes that no network
    with a weight excludes, and its logits are the mean of the logits.

    Args:
        logits: K tensors (batch, classes); for answers softened by T give z / T.
        weights: (K,), or (K, batch) for weights per sample; at least 0. They are divided by their
            sum over the networks. None weights all networks equally.
        mean: "arithmetic" or "geometric".

    Returns:
        (batch, classes): usable as logits, since its softmax is the mean itself.

    Raises:
        ValueError: for no logits, mismatched shapes, an unknown mean, or weights that have a wrong
            shape, are negative or sum to 0.

    >>> z = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])]
    >>> ensemble_log_probabilities(z, torch.tensor([3.0, 1.0])).exp()
    tensor([[0.7856, 0.2144]])
    >>> ensemble_log_probabilities(z, mean="geometric").exp()
    tensor([[0.7311, 0.2689]])
    """
    check_lists(logits=logits)
    check_logits(2, **{f"logits[{i}]": value for i, value in enumerate(logits)})
    check_choice(("arithmetic", "geometric"), mean=mean)
    stacked = torch.stack([F.log_softmax(at_least_float32(value), dim=1) for value in logits])
    share = _shares(weights, stacked)
    out = share <= 0  # False for NaN, which must stay visible
    if mean == "geometric":
        kept = torch.where(out, torch.zeros_like(stacked), stacked)
        return F.log_softmax((share * kept).sum(0), dim=1)
    log_share = torch.where(out, torch.ones_like(share), share).log()
    return (stacked + log_share.masked_fill(out, -torch.inf)).logsumexp(0)


def _shares(weights: Tensor | None, stacked: Tensor) -> Tensor:
    """Weights as shares of 1 over the networks, (networks, 1 or batch, 1)."""
    networks, batch, _ = stacked.shape
    if weights is None:
        return stacked.new_full((networks, 1, 1), 1 / networks)
    check_parameters(weights=weights)
    check_together(weights=weights, logits=stacked)
    if tuple(weights.shape) not in ((networks,), (networks, batch)):
        raise ValueError(
            f"weights must be ({networks},), one for each network, or ({networks}, {batch}), one for "
            f"each of its samples; got {tuple(weights.shape)}."
        )
    wide = at_least_float32(weights).to(torch.promote_types(weights.dtype, stacked.dtype))
    wide = wide.reshape(networks, -1, 1)
    largest = wide.detach().amax(0, keepdim=True)
    if bool((wide < 0).any()) or bool((largest <= 0).any()) or bool(torch.isinf(largest).any()):
        raise ValueError(
            "weights must be at least 0 and finite, with one above 0 for every sample; got "
            f"{float(wide.min()):g} to {float(wide.max()):g}."
        )
    wide = wide / largest  # so that the sum neither vanishes nor overflows
    return (wide / wide.sum(0, keepdim=True)).to(stacked.dtype)
