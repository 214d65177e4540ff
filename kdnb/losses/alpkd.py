"""ALP-KD: attention-based layer projection (Passban et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses._arithmetic import product
from kdnb.losses.checks import at_least_float32, check_samples, check_temperature


def layer_projection(
    student_states: Tensor, teacher_states: Tensor, temperature: float = 1.0
) -> Tensor:
    r"""ALP-KD (Passban 2021): compare each student layer with a mixture of all teacher layers.

    .. math:: L = \sum_i \mathrm{MSE}\Big(h^S_i, \sum_j \epsilon_{ij} h^T_j\Big),
        \quad \epsilon_{ij} = \mathrm{softmax}_j(h^S_i \cdot h^T_j / \tau)

    The attention is computed for each sample; gradients flow through it.

    Args:
        student_states: (batch, student layers, width), one vector per layer: the [CLS] token's in
            the paper, the pooled map for a convolutional layer.
        teacher_states: (batch, teacher layers, width).
        temperature: 1 in the paper; the square root of the width in some re-implementations.

    Returns:
        A scalar in squared units of the states: the mean over batch and width, summed over the
        student's layers.

    Raises:
        ValueError: for wrong shapes, different widths, or a temperature that is not above 0.

    Departures: there is no released code. The dot-product attention and the mean squared error are
    recalled. They agree with a public re-implementation, except that it scales the dot product and
    takes the mean over layers.

    >>> layer_projection(torch.ones(1, 1, 2), torch.tensor([[[2.0, 2.0], [2.0, 2.0]]]))
    tensor(1.)
    """
    check_temperature(temperature)
    check_samples(minimum=1, student_states=student_states, teacher_states=teacher_states)
    shapes = [tuple(states.shape) for states in (student_states, teacher_states)]
    if any(len(shape) != 3 for shape in shapes) or shapes[0][::2] != shapes[1][::2]:
        raise ValueError(
            "student_states and teacher_states must be (batch, layers, width) with the same batch "
            f"and width; got student_states {shapes[0]} and teacher_states {shapes[1]}."
        )
    student, teacher = at_least_float32(student_states), at_least_float32(teacher_states)
    attention = torch.softmax(product(student, teacher.mT) / temperature, dim=2)
    mixture = product(attention, teacher)
    return (student - mixture).square().mean(dim=(0, 2)).sum()
