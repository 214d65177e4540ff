"""BYOT (Zhang et al. 2019): the deepest exit of a network teaches the shallower ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.losses.checks import at_least_float32
from kdnb.methods.self_distillation.common import History, fit_one
from kdnb.methods.self_distillation.exits import MultiExit, _check_exits
from kdnb.nets import features
from kdnb.training import Recipe


def exit_terms(
    logits: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor,
    soft_weight: float,
    hard_weight: float,
    last_hard_weight: float = 1.0,
) -> dict[str, Tensor]:
    r"""BYOT's loss: the deepest exit learns from labels, earlier ones also from the deepest.

    .. math:: L = w_C\, H(y, q^C) + \sum_{i<C} \big( w_h\, H(y, q^i)
        + w_s\, T^2\, \mathrm{KL}(q^C_T \| q^i_T) \big)

    (Zhang 2019, equations 1 to 3; Phuong and Lampert 2019, equation 3). The deepest exit gets no
    gradient from the earlier exits.

    Args:
        logits: (batch, exits, classes), the deepest last.
        labels: (batch,) integers.
        temperature: T of both sides.

    Returns:
        The terms `hard` and `soft`, weighted.

    Raises:
        ValueError: for a wrong shape, a single exit, or a temperature not above 0.
    """
    _check_exits(logits)
    if logits.shape[1] < 2:
        raise ValueError("an exit can learn from a deeper one only where there are two; got one.")
    *early, last = logits.unbind(1)
    hard = last_hard_weight * hard_loss(last, labels)
    if hard_weight:
        hard = hard + hard_weight * sum(hard_loss(exit, labels) for exit in early)
    soft = sum(soft_targets(exit, last.detach(), temperature) for exit in early)
    return {"hard": hard, "soft": soft_weight * soft}


def be_your_own_teacher(
    network: MultiExit,
    examples: Any,
    recipe: Recipe,
    *,
    temperature: float = 3.0,
    soft_weight: float = 0.1,
    hard_weight: float = 0.9,
    hint_weight: float = 1e-4,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train with BYOT (Zhang 2019): the deepest exit's answers and features teach the others.

    The features of every early exit, adapted to the deepest's shape, approach the deepest features
    in squared L2 distance, summed over the features and averaged over the batch.

    Args:
        network: trained in place, including its exits.
        soft_weight, hard_weight: weights of the early exits. The paper's are α and 1 - α; the
            deepest exit has α = 0, and its cross-entropy the weight 1.
        hint_weight: weight of the feature term.
        options: passed to `training.fit`.

    Departures: the paper states neither α nor λ nor T. Ours are those of a public
    re-implementation (α = 0.1, T = 3; λ = 1e-6 on a sum over 128 images, hence 1e-4 on a mean),
    which also masks features that both sides have below 0.
    """

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        with features(network, network.feature_paths) as seen:
            logits = networks["network"](batch.images)
        parts = exit_terms(
            logits, batch.labels,
            temperature=temperature, soft_weight=soft_weight, hard_weight=hard_weight,
        )  # fmt: skip
        if hint_weight:
            *early, last = (at_least_float32(seen[path]) for path in network.feature_paths)
            apart = sum((own - last.detach()).square().flatten(1).sum(1).mean() for own in early)
            parts["hint"] = hint_weight * apart
        return parts

    return fit_one(network, examples, recipe, terms, seed=seed, **options)
