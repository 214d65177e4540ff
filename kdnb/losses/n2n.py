"""N2N (Ashok et al. 2018): the reward of a smaller network, and its policy gradient."""

from __future__ import annotations

from torch import Tensor

from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_number,
    check_scores,
    check_variant,
)


def compression_reward(accuracy: Tensor, compression: Tensor, teacher_accuracy: float) -> Tensor:
    r"""N2N's reward for a student smaller than its teacher (Ashok 2018).

    .. math:: R = C (2 - C) \cdot \frac{A_S}{A_T}, \quad C = 1 - \frac{n_S}{n_T}

    with the accuracies A and the numbers of parameters n of student and teacher. C(2 - C) rises
    from 0 to 1 and flattens: the slope is 2 for the first parameters removed and 0 for the last.

    Args:
        accuracy: (students,) A_S, in any unit.
        compression: (students,) C, below 1; negative where a student is larger than its teacher.
        teacher_accuracy: A_T, above 0, in the same unit.

    Returns:
        (students,) without unit; at most 1 for a student that is no better than its teacher.

    Raises:
        ValueError: if the numbers of accuracies and compressions differ or are 0, or the teacher's
            accuracy is 0.

    Source: the authors' code (anubhavashok/N2N), which has this reward; the paper's equation is
    recalled.

    >>> compression_reward(torch.tensor([0.9, 0.9]), torch.tensor([0.0, 0.5]), 0.9)
    tensor([0.0000, 0.7500])
    """
    check_scores(accuracy=accuracy, compression=compression)
    check_number(above=0, teacher_accuracy=teacher_accuracy)
    _check_as_many(accuracy=accuracy, compression=compression)
    share = at_least_float32(compression)
    return share * (2 - share) * (at_least_float32(accuracy) / teacher_accuracy)


def policy_gradient(
    log_probabilities: Tensor, rewards: Tensor, baseline: float = 0.0, variant: Variant = "paper"
) -> Tensor:
    r"""REINFORCE (Williams 1992) for a policy that chooses networks, as a loss to minimise.

    .. math:: L = -\frac1N \sum_{i=1}^N (R_i - b) \log \pi(a_i)

    Its gradient is an unbiased estimate of minus the gradient of the expected reward, as long as b
    does not depend on the choices a_i.

    Args:
        log_probabilities: (choices,) log pi(a_i), each summed over all decisions of the choice.
        rewards: (choices,) R_i; no gradient flows into them.
        baseline: b, such as a mean of earlier rewards.
        variant: "authors" gives every choice of the batch the mean reward of all, as the public
            code does. Then good and bad choices within a batch are not distinguished; only batches
            are.

    Returns:
        A scalar; only its gradient is meaningful.

    Raises:
        ValueError: if the numbers of rewards and choices differ or are 0.

    Departures: the paper's equation, with a reward for each choice, is recalled; the authors' code
    (anubhavashok/N2N) was read. That code takes an optimiser step for each choice instead of the
    mean over choices.

    >>> policy_gradient(torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 0.0]), 0.5)
    tensor(-0.2500)
    """
    check_variant(variant)
    check_scores(log_probabilities=log_probabilities, rewards=rewards)
    check_number(baseline=baseline)
    _check_as_many(log_probabilities=log_probabilities, rewards=rewards)
    gains = at_least_float32(rewards).detach() - baseline
    if variant == "authors":
        gains = gains.mean()
    return -(gains * at_least_float32(log_probabilities)).mean()


def _check_as_many(**scores: Tensor) -> None:
    if len({len(value) for value in scores.values()}) > 1:
        got = " and ".join(f"{name} {tuple(value.shape)}" for name, value in scores.items())
        raise ValueError(f"scores must be as many of each; got {got}.")
