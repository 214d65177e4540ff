r"""Measures of an accuracy matrix: average accuracy, forgetting, backward and forward transfer.

Row k of the matrix R, (contexts, contexts), holds the accuracy on every context after context k was
learnt; NaN where a context could not be evaluated.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor


def average_accuracy(matrix: Tensor) -> float:
    r"""The mean over all contexts after the last one, :math:`\frac1T \sum_i R_{Ti}`."""
    return float(_checked(matrix)[-1].mean())


def forgetting(matrix: Tensor) -> float:
    r"""Forgetting: the loss of accuracy since the best moment (Chaudhry et al. 2018).

    .. math:: F = \frac{1}{T - 1} \sum_{i < T} \Big(\max_{k < T} R_{ki} - R_{Ti}\Big)

    over earlier contexts, from the moment when each was learnt. It may be below 0, where later
    contexts help.
    """
    matrix = _checked(matrix)
    _several(matrix)
    last = len(matrix) - 1
    losses = [matrix[i:last, i].max() - matrix[last, i] for i in range(last)]
    return float(torch.stack(losses).mean())


def backward_transfer(matrix: Tensor) -> float:
    r"""Backward transfer: the effect of later contexts on earlier (Lopez-Paz and Ranzato 2017).

    .. math:: \mathrm{BWT} = \frac{1}{T - 1} \sum_{i < T} (R_{Ti} - R_{ii})
    """
    matrix = _checked(matrix)
    _several(matrix)
    last = len(matrix) - 1
    return float((matrix[last, :last] - matrix.diagonal()[:last]).mean())


def forward_transfer(matrix: Tensor, untrained: Tensor) -> float:
    r"""Forward transfer: the effect of earlier contexts on later ones (Lopez-Paz and Ranzato 2017).

    .. math:: \mathrm{FWT} = \frac{1}{T - 1} \sum_{i > 1} (R_{i - 1, i} - b_i)

    with b the accuracies of the network before any training.

    Returns:
        NaN if contexts cannot be evaluated before they are learnt, as in the scenario "class".
    """
    matrix = _checked(matrix)
    _several(matrix)
    if untrained.shape != matrix.shape[:1]:
        raise ValueError(
            f"untrained must have shape ({len(matrix)},); got {tuple(untrained.shape)}."
        )
    return float((matrix.diagonal(1) - untrained[1:]).mean())


def learning_accuracy(matrix: Tensor) -> float:
    r"""The mean accuracy on contexts just after learning, :math:`\frac1T \sum_i R_{ii}`."""
    return float(_checked(matrix).diagonal().mean())


def summary(matrix: Tensor, untrained: Tensor | None = None) -> pd.Series:
    """All measures of a matrix, in its unit; forward transfer where `untrained` is given."""
    found = {
        "average accuracy": average_accuracy(matrix),
        "learning accuracy": learning_accuracy(matrix),
        "forgetting": forgetting(matrix),
        "backward transfer": backward_transfer(matrix),
    }
    if untrained is not None:
        found["forward transfer"] = forward_transfer(matrix, untrained)
    return pd.Series(found)


def _checked(matrix: Tensor) -> Tensor:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"an accuracy matrix is square; got {tuple(matrix.shape)}.")
    return matrix.double()


def _several(matrix: Tensor) -> None:
    if len(matrix) < 2:
        raise ValueError("nothing can be forgotten or transferred with one context.")
