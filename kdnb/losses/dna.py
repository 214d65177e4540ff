"""DNA (Li et al. 2020): a candidate block imitates one block of the teacher."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import mean_squares, ratio, root
from kdnb.losses.checks import at_least_float32, check_maps


def block_distillation(student_maps: Tensor, teacher_maps: Tensor) -> Tensor:
    r"""The loss of a supernet block that is fed the teacher's preceding maps (Li 2020).

    .. math:: L = \frac1K \lVert Y_i - \hat Y_i(Y_{i-1}) \rVert_2^2

    with the teacher's maps Y_i after its block i, the candidate's maps computed from the teacher's
    previous maps, and K entries.

    Args:
        student_maps, teacher_maps: (batch, channels, height, width), of the same shape.

    Returns:
        A scalar, in the square of the maps' unit; 0 where they are equal.

    Raises:
        ValueError: for different shapes.

    Departures: the equation is recalled; the authors' code takes the mean of squares.

    >>> block_distillation(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]]))
    tensor(5.)
    """
    check_maps(student_maps=student_maps, teacher_maps=teacher_maps)
    return mean_squares(student_maps, teacher_maps)


def relative_block_error(student_maps: Tensor, teacher_maps: Tensor) -> Tensor:
    r"""The relative error of a candidate block, comparable between blocks (Li 2020).

    .. math:: \frac{\lVert Y_i - \hat Y_i \rVert_1}{K \, \sigma(Y_i)}

    Maps of different depth differ in scale. Divided by the spread of the teacher's maps, the errors
    of several blocks can be added to rate a whole network.

    Args:
        student_maps, teacher_maps: (batch, channels, height, width), of the same shape.

    Returns:
        A scalar without unit; 0 where the maps are equal, and where all the teacher's entries are
        equal.

    Raises:
        ValueError: for different shapes.

    Departures: the authors' code (changlin31/DNA, `distill_train.py`, the `cl_loss` by which blocks
    are ranked) computes sigma² over all entries with K - 1, and adds 1e-9 to sigma; here it is
    computed with K.

    >>> relative_block_error(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]]))
    tensor(2.)
    """
    check_maps(student_maps=student_maps, teacher_maps=teacher_maps)
    teacher = at_least_float32(teacher_maps)
    spread = root((teacher - teacher.mean()).square().mean())
    return ratio((teacher - at_least_float32(student_maps)).abs().mean(), spread)
