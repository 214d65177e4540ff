"""MLKD (Jin et al. 2023, CVPR): multi-level alignment of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdnb.losses._arithmetic import divergence
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_lists,
    check_logits,
    check_number,
    check_temperature,
    check_variant,
)


def multi_level_logits(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    instance_weight: float = 1.0,
    batch_weight: float = 1.0,
    class_weight: float = 1.0,
    variant: Variant = "paper",
) -> Tensor:
    r"""MLKD (Jin 2023, CVPR): align predictions per sample, per sample pair and per class pair.

    .. math:: L = \sum_T \frac{w_i}{B} \sum_b \mathrm{KL}(p_b \| q_b)
        + \frac{w_b}{B} \lVert p p^\top - q q^\top \rVert_F^2
        + \frac{w_c}{K} \lVert p^\top p - q^\top q \rVert_F^2

    with the (batch, classes) outputs p and q softened by each temperature T in turn: the paper's
    "prediction augmentation". The memory is batch² numbers, plus classes² if there are fewer
    classes than samples. Otherwise the third term is computed from products of samples.

    Args:
        student_logits, teacher_logits: (batch, classes).
        temperatures: at least one; the default is the authors' pool.
        instance_weight, batch_weight, class_weight: weights of the three levels, all 1 in the
            paper.
        variant: "authors" multiplies the first term by T².

    Returns:
        A scalar, 0 when the softmaxes are equal.

    Raises:
        ValueError: for wrong shapes, an empty batch, no temperature or a bad one, an unknown
            variant.

    Departures: the equations are from notes on the paper, which sums the first term over the
    samples; here, as in the authors' code, it is their mean. That code also multiplies reduced
    terms by the mean of a mask of the least confident half of the samples (or classes), which only
    scales them by about 1/2, and adds a strongly augmented view, with some terms from the weak
    view's logits. Neither is done here. MLKD trains for 480 epochs.

    >>> multi_level_logits(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), temperatures=[2.0])
    tensor(0.1814)
    """
    check_logits(2, student_logits=student_logits, teacher_logits=teacher_logits)
    check_variant(variant)
    check_lists(temperatures=temperatures)
    check_number(
        instance_weight=instance_weight, batch_weight=batch_weight, class_weight=class_weight
    )
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    dtype = torch.promote_types(student.dtype, teacher.dtype)
    student, teacher = student.to(dtype), teacher.to(dtype)
    batch, classes = student.shape
    total = student.new_zeros(())
    for temperature in temperatures:
        check_temperature(temperature)
        q, p = ((logits / temperature).softmax(1) for logits in (student, teacher))
        with torch.autocast(q.device.type, enabled=False):  # autocast would round the products
            between_samples = (p @ p.T - q @ q.T).square().sum() / batch
            between_classes = _gram_distance(p, q) / classes
        scale = 1.0 if variant == "paper" else temperature**2
        by_sample = divergence(teacher, student, temperature).mean()
        total = total + instance_weight * scale * by_sample
        total = total + batch_weight * between_samples + class_weight * between_classes
    return total


def _gram_distance(p: Tensor, q: Tensor) -> Tensor:
    r"""Of p and q (batch, classes): ||pᵀp - qᵀq||² (Frobenius), without a classes² matrix if large.

    With d = p - q it is ||pᵀd + dᵀq||², whose three parts are products of (batch, batch) matrices;
    using d instead of a difference of Gram matrices avoids cancellation where p and q are close.
    """
    if q.shape[1] <= q.shape[0]:
        return (p.T @ p - q.T @ q).square().sum()
    d = p - q
    own = (d @ d.T) * (p @ p.T + q @ q.T)
    return own.sum() + 2 * ((p @ d.T) * (d @ q.T)).sum()
