"""FitNets (Romero et al. 2015): a hint from a middle layer of the teacher."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from kdnb.losses._arithmetic import mean_squares, summed_squares
from kdnb.losses.checks import check_maps, check_variant


def hint(
    regressed: Tensor, teacher_maps: Tensor, variant: Literal["paper", "common"] = "paper"
) -> Tensor:
    r"""FitNets' hint loss (Romero 2015, equation 3).

    .. math:: L = \frac{1}{2B} \sum_b \lVert u_h(x_b) - r(v_g(x_b)) \rVert_2^2

    with the teacher's hint layer u and the regressor r on the student's guided layer v. In the
    paper it is the only loss of the first stage; distillation follows in a second stage.

    Args:
        regressed: (batch, channels, height, width), the student's maps after the regressor
            (:class:`~kdnb.losses.adapters.ConvolutionalRegressor`).
        teacher_maps: the same shape.
        variant: "common" is the mean squared error over all elements, without the half.
            RepDistiller, mdistiller and the Zoo call this FitNet; they use one stage and a weight
            of 100.

    Returns:
        A scalar in squared units of the maps, 0 where they agree.

    Raises:
        ValueError: for wrong or mismatched shapes.

    Departures: the equation has no batch mean. The authors' Theano code sums the halved squares
    over one axis and averages over the others.

    >>> hint(torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2))
    tensor(2.)
    """
    check_variant(variant, ("paper", "common"))
    check_maps(regressed=regressed, teacher_maps=teacher_maps)
    if variant == "common":
        return mean_squares(regressed, teacher_maps)
    return summed_squares(regressed, teacher_maps) / 2
