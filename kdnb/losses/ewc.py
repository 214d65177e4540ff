"""EWC (Kirkpatrick et al. 2017): a quadratic penalty on weights that matter for old tasks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_lists, check_parameters


def elastic_penalty(
    parameters: Sequence[Tensor], anchors: Sequence[Tensor], importances: Sequence[Tensor]
) -> Tensor:
    r"""EWC's penalty for moving weights from their values after an old task (Kirkpatrick 2017).

    .. math:: R(\theta) = \frac12 \sum_i F_i\, (\theta_i - \theta^*_i)^2

    with the weights :math:`\theta^*` after the old task, and F the diagonal of the Fisher
    information at these weights. The new task minimises :math:`L + \lambda R`. Several old tasks
    have one term each. Up to a constant, their sum is one term with :math:`F = \sum_k F_k` and
    :math:`\theta^* = \sum_k F_k \theta_k^* / F`.

    Args:
        parameters: the current weights, tensors of any shape.
        anchors, importances: theta* and F, one tensor of the same shape for each of the weights. F
            should be at least 0; this is not checked.

    Returns:
        A scalar: summed over all weights.

    Raises:
        ValueError: for lists of different lengths, or tensors of different shapes.

    Departures: recalled, but the formula is quoted in several summaries of the paper that were
    read.

    >>> elastic_penalty([torch.tensor([1.0, 2.0])], [torch.zeros(2)], [torch.tensor([4.0, 0.5])])
    tensor(3.)
    """
    check_lists(parameters=parameters, anchors=anchors, importances=importances)
    total: Tensor | None = None
    for number, found in enumerate(zip(parameters, anchors, importances, strict=True), 1):
        named = dict(zip(("parameters", "anchors", "importances"), found, strict=True))
        check_parameters(**named)
        if len({value.shape for value in found}) > 1:
            shapes = " and ".join(f"{name} {tuple(v.shape)}" for name, v in named.items())
            raise ValueError(f"each of parameters, anchors, importances must have one shape; got {shapes} at {number}.")  # fmt: skip
        here, there, weight = map(at_least_float32, found)
        term = (weight * (here - there).square()).sum() / 2
        total = term if total is None else total + term
    return total
