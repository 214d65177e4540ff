"""Guided CTC training (Kurata and Audhkhasi 2019): align spikes with a guiding network."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import at_least_float32, check_frames, check_number
from kdnb.losses.frame_level import present_frames


def spike_guidance(
    student_logits: Tensor, teacher_logits: Tensor, lengths: Tensor, blank: int = 0
) -> Tensor:
    r"""Guide loss (Kurata 2019): place the student's spikes in the same frames as the guide's.

    .. math:: L = -\frac1B \sum_b \sum_{n=1}^{N_b} m_{bn}\, q_{bn \hat k_{bn}}, \qquad
        \hat k_{bn} = \arg\max_k v_{bnk},\quad
        m_{bn} = \begin{cases} 0 & \hat k_{bn} = \text{blank} \\ 1 & \text{else}\end{cases}

    It is added to the CTC loss. A network trained this way has the guide's timing, so it can be
    compared, averaged or distilled frame by frame with other networks that have the same guide.

    Args:
        student_logits, teacher_logits: (batch, frames, classes); the guide is the teacher. No
            gradient flows into the guide.
        lengths: (batch,) integers, N_b, the frames that count.
        blank: the class that stands for no token.

    Returns:
        A scalar, at most 0; if the student has all the guide's spikes, minus their number.

    Raises:
        ValueError: for wrong shapes, or lengths below 1 or above the number of frames.

    Departures: the abstract states the purpose of the guide. The mask of the guide's best classes
    without the blank, and the product with the posteriors, are recalled.

    >>> import torch
    >>> guide = torch.tensor([[[0.0, 9.0], [9.0, 0.0]]])  # a spike, then a blank
    >>> spike_guidance(torch.zeros(1, 2, 2), guide, torch.tensor([2]))
    tensor(-0.5000)
    """
    check_frames(student_logits=student_logits, teacher_logits=teacher_logits)
    check_number(least=0, most=student_logits.shape[2] - 1, whole=True, blank=blank)
    best = teacher_logits.detach().argmax(2)
    spikes = (best != blank) & present_frames(student_logits, lengths)
    there = at_least_float32(student_logits).softmax(2).gather(2, best.unsqueeze(2)).squeeze(2)
    value = -(there * spikes).sum(1).mean()
    return nan_from(value, student_logits, teacher_logits)
