"""Internal representations (Aguilar et al. 2020): attention and the sentence's state."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import nan_from, unit
from kdnb.losses.checks import check_alike, check_number
from kdnb.losses.minilm import relation_divergence


def sentence_direction(student_state: Tensor, teacher_state: Tensor) -> Tensor:
    r"""The cosine loss (Aguilar 2020) of the first token's states, :math:`1 - \cos(h^S, h^T)`.

    Args:
        student_state, teacher_state: (batch, width), of the same width.

    Returns:
        A scalar from 0 to 2, without unit: the mean over the batch. A zero state has cosine 0.

    Raises:
        ValueError: for wrong shapes.

    >>> import torch
    >>> sentence_direction(torch.tensor([[1.0, 0.0]]), torch.tensor([[-3.0, 0.0]]))
    tensor(2.)
    """
    check_alike("batch, width", student_state=student_state, teacher_state=teacher_state)
    return (1 - (unit(student_state) * unit(teacher_state)).sum(1)).mean()


def internal_representation(
    student_scores: Tensor,
    teacher_scores: Tensor,
    student_states: Tensor,
    teacher_states: Tensor,
    present: Tensor | None = None,
    cosine_weight: float = 1.0,
) -> Tensor:
    r"""The loss of one student layer against one teacher layer (Aguilar 2020).

    .. math:: L = \frac1A \sum_{a=1}^A \sum_j A^T_{aj} \log \frac{A^T_{aj}}{A^S_{aj}}
        + w \big(1 - \cos(h^S_\mathrm{CLS}, h^T_\mathrm{CLS})\big)

    The first term is :func:`kdnb.losses.relation_divergence` of the attention probabilities,
    averaged over rows, A heads and sentences.

    Args:
        student_scores, teacher_scores: (batch, heads, tokens, tokens), before the softmax.
        student_states, teacher_states: (batch, tokens, width); only the first token's are compared.
        present: (batch, tokens) booleans, False for padding; all tokens count if None.
        cosine_weight: w, at least 0.

    Returns:
        A scalar: nats plus w times the cosine distance.

    Raises:
        ValueError: for wrong shapes, or a negative weight.

    Departures: recalled, except for the two terms, which the paper's abstract and the survey name.

    >>> import torch
    >>> scores, states = torch.zeros(1, 2, 3, 3), torch.ones(1, 3, 4)
    >>> internal_representation(scores, scores, states, 2 * states).abs()
    tensor(0.)
    """
    check_number(least=0, cosine_weight=cosine_weight)
    check_alike(
        "batch, tokens, width", student_states=student_states, teacher_states=teacher_states
    )
    attention = relation_divergence(student_scores, teacher_scores, present)
    direction = sentence_direction(student_states[:, 0], teacher_states[:, 0])
    # NaN in another token's state, which is not compared, is an error as well.
    return nan_from(attention + cosine_weight * direction, student_states, teacher_states)
