"""IFM (Passalis, Tzelepi and Tefas 2020): information flow between layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kdnb.losses.checks import Variant, check_lists, check_number
from kdnb.losses.pkt import hybrid_transfer


def information_flow(
    student_layers: Sequence[Tensor],
    teacher_layers: Sequence[Tensor],
    epoch: int,
    initial_weight: float = 100.0,
    decay: float = 0.7,
    variant: Variant = "paper",
) -> Tensor:
    r"""Heterogeneous distillation by information flow (Passalis, Tzelepi and Tefas 2020).

    .. math:: L = L_{\mathrm{last}} + w_0 d^{\,e} \sum_{l < \mathrm{last}} L_l

    where L_l is :func:`hybrid_transfer` of the l-th pair of layers and e the epoch: the
    intermediate layers matter in the first, critical epochs; later only the last layer does. Match
    the student's layers with those of an auxiliary teacher of similar depth, which is itself
    distilled from the teacher: `kdnb.methods.offline.ifm.through_auxiliary` does both. The decay
    assumes 50 epochs; for another budget, set e to 50 times the fraction of training that has
    passed.

    Args:
        student_layers, teacher_layers: the same number of tensors (batch, ...), first layer first.
        epoch: e >= 0, counted from 0.
        initial_weight: w_0 > 0, for every layer but the last.
        decay: d in (0, 1], the factor from one epoch to the next.
        variant: passed on to :func:`hybrid_transfer`.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for lists of different length, an epoch below 0, a decay outside (0, 1], or
            input that :func:`hybrid_transfer` rejects.

    Departures: weights, decay and divergence follow the authors' code (passalis/pkth). The paper
    defines information flow by mutual information and uses this as a computable approximation.

    >>> flow = [torch.eye(3), torch.eye(3)]
    >>> goal = [torch.eye(3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])]
    >>> information_flow(flow, goal, epoch=0), information_flow(flow[::-1], goal[::-1], epoch=1)
    (tensor(0.5961), tensor(41.7288))
    """
    check_lists(student_layers=student_layers, teacher_layers=teacher_layers)
    check_number(above=0, initial_weight=initial_weight)
    check_number(above=0, most=1, decay=decay)
    check_number(least=0, epoch=epoch)
    losses = [
        hybrid_transfer(student, teacher, variant)
        for student, teacher in zip(student_layers, teacher_layers, strict=True)
    ]
    return losses[-1] + initial_weight * decay**epoch * sum(losses[:-1])
