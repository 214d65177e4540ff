"""DistilBERT's triple loss (Sanh et al. 2019): the cosine loss on hidden states."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import nan_from, unit
from kdnb.losses.checks import check_alike, check_present


def state_directions(
    student_states: Tensor, teacher_states: Tensor, present: Tensor | None = None
) -> Tensor:
    r"""DistilBERT's cosine loss on hidden states (Sanh 2019).

    .. math:: L = \frac1N \sum_{b,t} 1 - \cos\big(h^S_{bt}, h^T_{bt}\big)

    The other two terms of the triple loss are `soft_targets` and the cross-entropy, both on the
    masked words: see :func:`kdnb.methods.applications.distil_masked_words`.

    Args:
        student_states, teacher_states: (batch, tokens, width), of the same width.
        present: (batch, tokens) booleans, False for padding; all tokens count if None.

    Returns:
        A scalar from 0 to 2, without unit: the mean over present tokens. A zero state has cosine 0.

    Raises:
        ValueError: for wrong shapes.

    Departures: the authors' code has this loss, as torch's cosine embedding loss with target 1; the
    equation is recalled.

    >>> import torch
    >>> state_directions(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]]))
    tensor(0.)
    """
    check_alike(
        "batch, tokens, width", student_states=student_states, teacher_states=teacher_states
    )
    each = 1 - (unit(student_states) * unit(teacher_states)).sum(2)
    if present is None:
        return each.mean()
    check_present(present, *each.shape, student_states=student_states)
    total = each.masked_fill(~present, 0).sum() / present.sum()
    return nan_from(total, student_states, teacher_states)
