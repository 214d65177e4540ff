"""PKD: patient knowledge distillation (Sun et al. 2019)."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import unit
from kdnb.losses.checks import Variant, check_alike, check_variant


def patient(student_states: Tensor, teacher_states: Tensor, variant: Variant = "paper") -> Tensor:
    r"""PKD's loss on sentence states of several layers (Sun 2019).

    .. math:: L = \frac1B \sum_b \sum_{j=1}^M \Big\lVert \frac{h^S_{bj}}{\lVert h^S_{bj} \rVert}
        - \frac{h^T_{b,I(j)}}{\lVert h^T_{b,I(j)} \rVert} \Big\rVert_2^2

    where h are the states of the first token. Each pair of layers contributes :math:`2 - 2\cos`.

    Args:
        student_states, teacher_states: (batch, layers, width) of the first token, of the same
            width.
        variant: "authors" takes the mean over batch, layers and width in place of the sums.

    Returns:
        A scalar without unit, from 0 to 4 times the number of layers. A zero state keeps length 0.

    Raises:
        ValueError: for wrong shapes.

    Departures: the equation is recalled; the authors' mean is in their code (src/KD_loss.py), where
    normalising is an option. The paper's sum runs over the training set, here the batch's mean is
    taken.

    >>> import torch
    >>> student, teacher = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    >>> patient(student, teacher), patient(2 * teacher, teacher)
    (tensor(2.), tensor(0.))
    """
    check_variant(variant)
    check_alike(
        "batch, layers, width", student_states=student_states, teacher_states=teacher_states
    )
    squares = (unit(student_states) - unit(teacher_states)).square()
    return squares.mean() if variant == "authors" else squares.sum((1, 2)).mean()
