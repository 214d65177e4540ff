"""SP (Tung and Mori 2019): similarity-preserving knowledge distillation."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import gram, rows, unit
from kdnb.losses.checks import check_samples


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Similarity-preserving distillation (Tung and Mori 2019, equations 1 to 4).

    .. math:: L = \frac{1}{B^2} \lVert G_T - G_S \rVert_F^2, \quad
        G_{i:} = \tilde G_{i:} / \lVert \tilde G_{i:} \rVert_2,\; \tilde G = Q Q^\top

    with one flattened sample in each row of Q. The loss is invariant to an orthogonal map of the
    features and to a common scale of the batch.

    Args:
        student, teacher: (batch, ...); flattened. This is for one pair of layers; sum over pairs.

    Returns:
        A scalar without unit, at most 4 / B.

    Raises:
        ValueError: for different batch sizes or an empty tensor.

    Departures: none known, judging by RepDistiller's version; the paper's weight is 3000. A sample
    whose activations are all 0 has a row of zeros and no gradient. The numbers of the equations are
    recalled.

    >>> similarity_preserving(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.ones(2, 2))
    tensor(0.2929)
    """
    check_samples(minimum=1, student=student, teacher=teacher)
    student, teacher = rows(student), rows(teacher)
    return F.mse_loss(unit(gram(student), dim=1), unit(gram(teacher), dim=1))
