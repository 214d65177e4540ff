"""The deepest part of a network teaches the shallower ones: BYOT, multi-exit distillation, SAD."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import soft_targets
from kdnb.losses._checks import at_least_float32, check_maps, check_temperature
from kdnb.losses.feature import attention_map
from kdnb.nets import features
from kdnb.schemes.offline import hard_loss
from kdnb.schemes.self_distillation._common import History, fit_one
from kdnb.schemes.self_distillation.exits import MultiExit, _check_exits
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
    r"""The deepest exit learns from labels, every earlier one from labels and the deepest.

    .. math:: L = w_C\, H(y, q^C) + \sum_{i<C} \big( w_h\, H(y, q^i)
        + w_s\, T^2\, \mathrm{KL}(q^C_T \| q^i_T) \big)

    (Zhang 2019, equations 1 to 3; Phuong and Lampert 2019, equation 3). The deepest exit gets no
    gradient from its pupils.

    Args:
        logits: (batch, exits, classes), the deepest last.
        labels: (batch,) integers.
        temperature: T of both sides.

    Returns:
        The terms `hard` and `soft`, weighted.

    Raises:
        ValueError: for another shape, a single exit, or a temperature not above 0.
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
        network: trained in place, exits and all.
        soft_weight, hard_weight: of the early exits. The paper's are α and 1 - α; the deepest exit
            has α = 0, and its cross-entropy the weight 1.
        hint_weight: of the feature term.
        options: of `training.fit`.

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


def annealed_temperature(
    temperature: Tensor, logits: Tensor, confidence: float = 0.5, factor: float = 1.05
) -> Tensor:
    """The next step's temperature: times `factor` while the teacher is still too sure at this one.

    Args:
        temperature: of this step.
        logits: of the teaching exit, (batch, classes).
        confidence: the largest probability, on average, that is let be.

    >>> annealed_temperature(torch.tensor(1.0), torch.tensor([[5.0, 0.0]]))
    tensor(1.0500)
    """
    sure = (at_least_float32(logits.detach()) / temperature).softmax(1).amax(1).mean()
    return torch.where(sure > confidence, temperature * factor, temperature)


def multi_exit_distil(
    network: MultiExit,
    examples: Any,
    recipe: Recipe,
    *,
    temperature: float | None = None,
    soft_weight: float = 0.5,
    hard_weight: float = 0.5,
    confidence: float = 0.5,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train early exits to imitate the last one (Phuong and Lampert 2019, ICCV, section 3).

    Args:
        network: trained in place.
        temperature: a constant, or None for the paper's annealing: from 1 on, times 1.05 after
            every step in which the last exit's largest probability exceeds `confidence` on average.
            The temperature reached is `network.temperature`, part of every checkpoint.
        soft_weight, hard_weight: of the early exits' distillation and of every exit's
            cross-entropy, the paper's α and 1 - α.
        options: of `training.fit`.

    Departures: none known (the authors' loss read; they scale the sum by a further constant, which
    the learning rate takes up).
    """
    if temperature is not None:
        check_temperature(temperature)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        # A copy: the buffer moves on before the gradients are taken.
        current = network.temperature.clone() if temperature is None else temperature
        parts = exit_terms(
            logits, batch.labels, temperature=current,
            soft_weight=soft_weight, hard_weight=hard_weight, last_hard_weight=hard_weight,
        )  # fmt: skip
        if temperature is None:
            network.temperature.copy_(annealed_temperature(current, logits[:, -1], confidence))
        return parts

    return fit_one(network, examples, recipe, terms, seed=seed, **options)


def spatial_attention(maps: Tensor, size: Sequence[int] | None = None) -> Tensor:
    r"""SAD's attention: the softmax over positions of the summed squares, enlarged to one size.

    .. math:: \Psi(A) = \Phi(\mathcal{B}(\textstyle\sum_c |A_c|^2))

    with bilinear enlargement B and spatial softmax Φ (Hou 2019, section 3.1).

    Args:
        maps: (batch, channels, height, width).
        size: (height, width) of the result; the maps' own when None.

    Returns:
        (batch, height, width), non-negative, 1 in sum over the positions.
    """
    attention = attention_map(maps)
    if size is not None and tuple(size) != tuple(attention.shape[1:]):
        enlarged = F.interpolate(
            attention[:, None], size=tuple(size), mode="bilinear", align_corners=False
        )
        attention = enlarged[:, 0]
    return attention.flatten(1).softmax(1).view_as(attention)


def self_attention(maps: Sequence[Tensor]) -> Tensor:
    r"""Self-attention distillation: each layer's attention imitates the next deeper layer's.

    .. math:: L = \sum_{m=1}^{M-1} L_d(\Psi(A_m), \Psi(A_{m+1})), \quad
        L_d(a, b) = \frac{1}{B} \sum_b \lVert a_b - b_b \rVert_2^2

    (Hou 2019, equation 2).

    Args:
        maps: M >= 2 feature maps (batch, channels, height, width), shallow to deep; the smaller
            attention of each pair is enlarged to the other's size.

    Returns:
        A scalar without unit, at most 2 for each pair.

    Raises:
        ValueError: for fewer than two maps, or other shapes.

    Departures: the target, the deeper map, gets no gradient, and L_d is a sum over positions;
    the paper says only that it is an L2 loss (recalled).

    >>> self_attention([torch.ones(1, 3, 2, 2), torch.ones(1, 5, 1, 1)])
    tensor(0.)
    """
    if len(maps) < 2:
        raise ValueError(f"a layer imitates the next one: two maps are needed; got {len(maps)}.")
    check_maps("B", **{f"maps[{number}]": value for number, value in enumerate(maps)})
    total = at_least_float32(maps[0]).new_zeros(())
    for shallow, deep in pairwise(maps):
        size = [max(a, b) for a, b in zip(shallow.shape[2:], deep.shape[2:], strict=True)]
        apart = spatial_attention(shallow, size) - spatial_attention(deep.detach(), size)
        total = total + apart.square().sum((1, 2)).mean()
    return total


def self_attention_distil(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    paths: Sequence[str],
    attention_weight: float = 0.1,
    start: float = 2 / 3,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train with SAD (Hou 2019): cross-entropy, and attention distillation once it has learnt.

    Args:
        network: trained in place.
        paths: modules whose outputs are maps, shallow to deep.
        attention_weight: of `self_attention`; 0.1 in the paper (recalled).
        start: the share of the epochs without it. The paper adds it after 40,000 of 60,000
            iterations, when the deeper layers' attention is worth imitating (recalled).
        options: of `training.fit`.

    Departures: a classifier stands for the paper's lane detector and its losses.
    """
    weight = 0.0

    def begin(epoch: int) -> None:
        nonlocal weight
        weight = attention_weight if epoch >= start * recipe.epochs else 0.0

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        with features(network, paths) as seen:
            logits = networks["network"](batch.images)
        return {
            "hard": hard_loss(logits, batch.labels),
            "attention": weight * self_attention([seen[path] for path in paths]),
        }

    return fit_one(network, examples, recipe, terms, seed=seed, begin=begin, **options)
