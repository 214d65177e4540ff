"""The tolerant teacher (Yang et al. 2019, AAAI): a bounded gap between its top scores."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import at_least_float32, check_logits, check_number


def top_score_difference(logits: Tensor, kept: int = 5) -> Tensor:
    r"""The gap between the first class and the next ones, which a tolerant teacher keeps small.

    .. math:: L = \frac1B \sum_b \Big( q_{(1)} - \frac{1}{K - 1} \sum_{k=2}^{K} q_{(k)} \Big)

    with the probabilities in descending order (Yang 2019, AAAI, equation 4).

    Args:
        logits: (batch, classes).
        kept: K, the number of top classes considered; 5 in the paper.

    Returns:
        A scalar between 0 and 1.

    Raises:
        ValueError: for a wrong shape, or a `kept` outside [2, classes].

    Departures: whether the scores are probabilities or logits, and K = 5, are recalled;
    re-implementations take probabilities.

    >>> top_score_difference(torch.zeros(1, 4), kept=2)
    tensor(0.)
    """
    check_logits(logits=logits)
    check_number(least=2, most=logits.shape[1], whole=True, kept=kept)
    top = at_least_float32(logits).softmax(1).topk(kept, 1).values
    return (top[:, 0] - top[:, 1:].mean(1)).mean()
