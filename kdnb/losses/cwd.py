"""CWD (Shu et al. 2021): each channel's activation as a distribution over positions."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import divergence
from kdnb.losses.checks import at_least_float32, check_channels, check_maps, check_number


def channel_wise(student_maps: Tensor, teacher_maps: Tensor, temperature: float = 4.0) -> Tensor:
    r"""Channel-wise distillation (Shu 2021, CWD).

    .. math:: L = \frac{T^2}{BC} \sum_b \sum_c \sum_i \phi(y^T_{bc})_i
        \log \frac{\phi(y^T_{bc})_i}{\phi(y^S_{bc})_i}, \qquad
        \phi(y)_i = \frac{e^{y_i / T}}{\sum_k e^{y_k / T}}

    with the softmax over the *positions* i of one channel, not over channels. Adding a constant to
    all positions of a channel changes nothing; positions to which the teacher's channel gives
    little probability hardly count.

    Args:
        student_maps: (batch, channels, height, width): logits, or features that a 1x1 convolution
            has brought to the teacher's width.
        teacher_maps: of the same shape.
        temperature: T > 0.

    Returns:
        A scalar in nats, at least 0; 0 where all these distributions agree.

    Raises:
        ValueError: for wrong shapes, or a temperature that is not above 0.

    Departures: none known. The loss follows a public implementation (mmrazor), which was read, with
    the mean over batch and channels; the temperature 4 is recalled.

    >>> student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([[[[2.0, -2.0]]]])
    >>> channel_wise(student, teacher, 1.0), channel_wise(student + 5, teacher, 1.0)
    (tensor(0.6031), tensor(0.6031))
    """
    check_maps("BHW", student_maps=student_maps, teacher_maps=teacher_maps)
    check_channels(student_maps=student_maps, teacher_maps=teacher_maps)
    check_number(above=0, temperature=temperature)
    student, teacher = (
        at_least_float32(maps).flatten(2).flatten(0, 1) for maps in (student_maps, teacher_maps)
    )
    return temperature**2 * divergence(teacher, student, temperature).mean()
