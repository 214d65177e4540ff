"""Distilled detection (Chen et al. 2017): teacher-bounded regression, weighted soft classes."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import cross_entropy_of, nan_from
from kdnb.losses.checks import at_least_float32, check_logits, check_number, check_samples


def bounded_regression(
    student_boxes: Tensor, teacher_boxes: Tensor, boxes: Tensor, margin: float = 0.0
) -> Tensor:
    r"""Teacher-bounded regression (Chen 2017): squared error, unless the student is better.

    .. math:: L = \frac1B \sum_b \begin{cases}
        \lVert r^S_b - y_b \rVert_2^2 & \text{if } \lVert r^S_b - y_b \rVert_2^2 + m > \lVert r^T_b
        - y_b \rVert_2^2 \\
        0 & \text{else}\end{cases}

    Regression has no soft answers, and the teacher's box may be further from the truth than the
    student's. The teacher's box is therefore a bound and not a target: the loss is zero once the
    student is better by the margin, and the gradient always points to the true box.

    Args:
        student_boxes, teacher_boxes: (batch, values), such as the four coordinates of a box or
            their offsets from an anchor. No gradient flows into the teacher's boxes.
        boxes: (batch, values), the true boxes.
        margin: m >= 0, in squared units of the boxes.

    Returns:
        A scalar in squared units of the boxes, at least 0. It jumps to 0 where the student becomes
        better by m.

    Raises:
        ValueError: for wrong shapes, or a margin below 0.

    Departures: the equation is taken from summaries; the paper's margin and weight were not
    available. The paper adds a smooth L1 loss on the true boxes.

    >>> true, teacher = torch.zeros(2, 1), torch.tensor([[1.0], [1.0]])
    >>> bounded_regression(torch.tensor([[2.0], [0.5]]), teacher, true)
    tensor(2.)
    """
    names = {"student_boxes": student_boxes, "teacher_boxes": teacher_boxes, "boxes": boxes}
    _check_boxes(names)
    check_number(least=0, margin=margin)
    student, teacher, true = (at_least_float32(one) for one in names.values())
    ours = (student - true).square().sum(1)
    theirs = (teacher.detach() - true).square().sum(1)
    loss = torch.where(ours.detach() + margin > theirs, ours, 0 * ours).mean()
    return nan_from(loss, student_boxes, teacher_boxes, boxes)


def weighted_soft_targets(
    student_logits: Tensor,
    teacher_logits: Tensor,
    background: int = 0,
    background_weight: float = 1.5,
    temperature: float = 1.0,
) -> Tensor:
    r"""Soft targets for regions, with a weight for the background class (Chen 2017).

    .. math:: L = -\frac1B \sum_b \sum_c w_c\, p_{bc} \log q_{bc}, \qquad
        w_c = \begin{cases} w & \text{background} \\ 1 & \text{else} \end{cases}

    with the teacher's probabilities p and the student's q. The weight is there because confusing an
    object with background is a different kind of error from confusing two objects.

    Args:
        student_logits, teacher_logits: (batch, classes), at least 2 classes, a row for each region.
        background: the index of the background class.
        background_weight: w >= 0; the paper's is 1.5 (recalled).
        temperature: T > 0, of both softmaxes; the loss is not multiplied by T².

    Returns:
        A scalar in nats, at least 0. For w other than 1 its minimum is not at student = teacher.

    Raises:
        ValueError: for wrong shapes, a background index out of range, a negative weight or a
            temperature that is not above 0.

    >>> logits = torch.zeros(1, 2)
    >>> weighted_soft_targets(logits, logits), weighted_soft_targets(logits, logits, 0, 1.0)
    (tensor(0.8664), tensor(0.6931))
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    classes = student_logits.shape[1]
    check_number(least=0, most=classes - 1, whole=True, background=background)
    check_number(least=0, background_weight=background_weight)
    check_number(above=0, temperature=temperature)
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    weights = torch.ones(classes, dtype=student.dtype, device=student.device)
    weights[int(background)] = float(background_weight)
    p = (teacher / temperature).softmax(1)
    return cross_entropy_of(weights * p, student / temperature).mean()


def _check_boxes(named: dict[str, Tensor]) -> None:
    check_samples(1, **named)
    if len({tuple(value.shape) for value in named.values()}) > 1 or named["boxes"].ndim != 2:
        got = " and ".join(f"{name} {tuple(value.shape)}" for name, value in named.items())
        raise ValueError(f"boxes must be (batch, values), all of one shape; got {got}.")
