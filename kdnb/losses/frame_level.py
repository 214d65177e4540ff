"""Frame-level distillation of acoustic models (Li et al. 2014; Chan et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import divergence
from kdnb.losses.checks import (
    at_least_float32,
    check_frames,
    check_lengths,
    check_number,
)


def present_frames(logits: Tensor, lengths: Tensor) -> Tensor:
    """Mark the frames that belong to a sequence and are not padding: (batch, frames).

    >>> present_frames(torch.zeros(2, 3, 4), torch.tensor([1, 3])).int()
    tensor([[1, 0, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    check_frames(logits=logits)
    check_lengths(lengths, logits)
    return torch.arange(logits.shape[1], device=logits.device) < lengths[:, None]


def frame_distillation(
    student_logits: Tensor, teacher_logits: Tensor, lengths: Tensor, temperature: float = 1.0
) -> Tensor:
    r"""Frame-level distillation: the divergence from the teacher's posteriors, frame by frame.

    .. math:: L = \frac{T^2}{\sum_b N_b} \sum_b \sum_{n=1}^{N_b} \sum_k
        p_{bnk} \log \frac{p_{bnk}}{q_{bnk}}

    with N_b frames of sequence b, and softmaxes p, q of the teacher's and the student's logits at
    temperature T. The teacher's posteriors are a soft alignment: they give the share of each state
    in a frame.

    Args:
        student_logits, teacher_logits: (batch, frames, classes); classes are a recogniser's states.
            Gradients flow into the teacher's too unless they are detached.
        lengths: (batch,) integers, N_b; frames after these are padding and do not count.
        temperature: T > 0; 1 in the papers.

    Returns:
        A scalar in nats, at least 0: the mean over all frames that count. A long sequence counts
        more than a short one.

    Raises:
        ValueError: for wrong shapes, lengths below 1 or above the number of frames, or a
            temperature that is not above 0.

    Departures: Chan's abstract states that the target is the divergence from the recurrent
    network's soft alignment. It is recalled that Li et al. use the same loss, with T = 1 and no
    labels.

    >>> student = torch.tensor([[[2.0, 0.0], [9.0, 9.0]]])
    >>> frame_distillation(student, torch.zeros(1, 2, 2), torch.tensor([1]))
    tensor(0.4338)
    """
    check_frames(student_logits=student_logits, teacher_logits=teacher_logits)
    check_number(above=0, temperature=temperature)
    there = present_frames(student_logits, lengths)
    student, teacher = (
        at_least_float32(logits)[there] for logits in (student_logits, teacher_logits)
    )
    return temperature**2 * divergence(teacher, student, temperature).mean()
