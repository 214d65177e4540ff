"""Modality hallucination (Hoffman et al. 2016): imitate the features of a missing modality."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses._arithmetic import summed_squares
from kdnb.losses.checks import at_least_float32, check_maps


def hallucination_loss(hallucinated_maps: Tensor, privileged_maps: Tensor) -> Tensor:
    r"""Hallucination loss (Hoffman 2016): the distance from features of the missing modality.

    .. math:: L = \frac1B \sum_b \lVert \sigma(A_b^{hall}) - \sigma(A_b^{priv}) \rVert_2^2

    with the sigmoid: all large activations count as "on".

    Args:
        hallucinated_maps: (batch, channels, height, width), of the network that sees the available
            modality.
        privileged_maps: the same shape, of the network that sees the modality missing at test.
            Gradients flow into it too unless it is detached.

    Returns:
        A scalar, 0 where they agree, at most the number of values in a sample.

    Raises:
        ValueError: for wrong or mismatched shapes, or an empty batch.

    Departures: recalled from the paper; its text was not available. The mean over the batch is
    ours.

    >>> hallucination_loss(torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 1e4))
    tensor(1.)
    """
    check_maps(hallucinated_maps=hallucinated_maps, privileged_maps=privileged_maps)
    both = (at_least_float32(one).sigmoid() for one in (hallucinated_maps, privileged_maps))
    return summed_squares(*both)
