"""EWC (Kirkpatrick et al. 2017): weights that mattered for old tasks are held by springs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_lists, check_parameters


def elastic_penalty(
    parameters: Sequence[Tensor], anchors: Sequence[Tensor], importances: Sequence[Tensor]
) -> Tensor:
    r"""What it costs to move weights away from where an old task left them.

    .. math:: R(\theta) = \frac12 \sum_i F_i\, (\theta_i - \theta^*_i)^2

    with the weights :math:`\theta^*` after the old task and F, the diagonal of its Fisher
    information there. The new task minimises :math:`L + \lambda R`. Several old tasks have one term
    each; their sum is, but for a constant, one term with :math:`F = \sum_k F_k` and
    :math:`\theta^* = \sum_k F_k \theta_k^* / F`.

    Args:
        parameters: the weights that learn, tensors of any shapes.
        anchors, importances: for each of them theta* and F, of its shape. F is at least 0 for a
            penalty; this is not checked.

    Returns:
        A scalar: summed over all weights.

    Raises:
        ValueError: for lists of other lengths, or tensors of other shapes.

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
