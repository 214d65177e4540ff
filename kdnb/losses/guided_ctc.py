"""Guided CTC training (Kurata and Audhkhasi 2019): spikes where a guiding network has them."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import nan_from
from kdnb.losses.checks import at_least_float32, check_frames, check_number
from kdnb.losses.frame_level import present_frames


def spike_guidance(
    student_logits: Tensor, teacher_logits: Tensor, lengths: Tensor, blank: int = 0
) -> Tensor:
    r"""Ask for the student's spikes in the frames in which the guiding network has its own.

    .. math:: L = -\frac1B \sum_b \sum_{n=1}^{N_b} m_{bn}\, q_{bn \hat k_{bn}}, \qquad
        \hat k_{bn} = \arg\max_k v_{bnk},\quad
        m_{bn} = \begin{cases} 0 & \hat k_{bn} = \text{blank} \\ 1 & \text{else}\end{cases}

    It stands beside the CTC loss. A network that is trained so has the guide's timing; frame by
    frame it can then be compared, averaged or distilled with others of the same guide.

    Args:
        student_logits, teacher_logits: (batch, frames, classes), the guide's as the teacher's. No
            gradient flows into the guide.
        lengths: (batch,) integers, N_b, the frames that count.
        blank: the class that stands for no token.

    Returns:
        A scalar, at most 0: minus the number of the guide's spikes where the student has them all.

    Raises:
        ValueError: for wrong shapes, or lengths outside 1 to the frames there are.

    Departures: the abstract says what the guide is for; the mask of the guide's best classes
    without the blank and the product with the posteriors are recalled.

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
