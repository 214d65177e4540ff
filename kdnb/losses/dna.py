"""DNA (Li et al. 2020): a candidate block does the work of one block of the teacher."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import mean_squares, ratio, root
from kdnb.losses.checks import at_least_float32, check_maps


def block_distillation(student_maps: Tensor, teacher_maps: Tensor) -> Tensor:
    r"""What a block of the supernet minimises, given the teacher's maps in front (Li 2020).

    .. math:: L = \frac1K \lVert Y_i - \hat Y_i(Y_{i-1}) \rVert_2^2

    with the teacher's maps Y_i behind its block i, those that the candidate makes of the teacher's
    maps in front of it, and K entries.

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
    r"""How far a candidate block is from the teacher's, comparable over blocks (Li 2020).

    .. math:: \frac{\lVert Y_i - \hat Y_i \rVert_1}{K \, \sigma(Y_i)}

    Deep and shallow maps have different sizes; divided by the spread of the teacher's, errors of
    several blocks can be added up to grade a whole network.

    Args:
        student_maps, teacher_maps: (batch, channels, height, width), of the same shape.

    Returns:
        A scalar without unit; 0 where the maps are equal, and where all entries of the teacher's
        are.

    Raises:
        ValueError: for different shapes.

    Departures: the authors' code (changlin31/DNA, `distill_train.py`, the `cl_loss` by which blocks
    are ranked) divides by K - 1 in sigma's square, which is over all entries, and adds 1e-9 to
    sigma; here the division is by K.

    >>> relative_block_error(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]]))
    tensor(2.)
    """
    check_maps(student_maps=student_maps, teacher_maps=teacher_maps)
    teacher = at_least_float32(teacher_maps)
    spread = root((teacher - teacher.mean()).square().mean())
    return ratio((teacher - at_least_float32(student_maps)).abs().mean(), spread)
