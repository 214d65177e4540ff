"""Beta smoothing: labels softened by the network itself, more where it is less confident."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import cross_entropy_with, hard_loss
from kdnb.losses.checks import at_least_float32, check_labels
from kdnb.methods.self_distillation.common import History, fit_one
from kdnb.training import Recipe
from kdnb.training.borrowed import twin_of


def beta_targets(
    confidence: Tensor, labels: Tensor, classes: int, concentration: float = 3.0
) -> Tensor:
    r"""Instance-specific smoothing (Zhang and Sabuncu 2020): smooth each label by its own amount.

    One number b ~ Beta(a, 1) is drawn for each sample of the batch; sorted, the largest goes to the
    sample on whose label the network is most confident. The label gets b; the other classes share
    1 - b.

    Args:
        confidence: (batch,), the probability of the label under a running mean of the network.
        labels: (batch,) integers.
        classes: at least 2.
        concentration: a > 0; the mean amount of smoothing is 1 / (a + 1).

    Returns:
        Probabilities (batch, classes), float32, without gradient. Random: from torch's state.

    Raises:
        ValueError: for wrong shapes, fewer than 2 classes, or a concentration not above 0.
    """
    if confidence.shape != labels.shape or labels.ndim != 1 or classes < 2:
        raise ValueError(
            f"confidence and labels must be (batch,) with at least 2 classes; got "
            f"{tuple(confidence.shape)}, {tuple(labels.shape)} and {classes}."
        )
    if not concentration > 0:
        raise ValueError(f"concentration must be above 0; got {concentration}.")
    # A Beta(a, 1) variable is the a-th root of a uniform one.
    drawn = torch.rand(len(labels)).pow(1 / concentration).sort().values.to(labels.device)
    share = torch.empty_like(drawn).scatter_(0, confidence.detach().argsort(), drawn)
    rest = ((1 - share) / (classes - 1))[:, None].expand(-1, classes)
    return rest.scatter(1, labels[:, None], share[:, None])


class WithAverage(nn.Module):
    """A network and the running mean of its weights, kept together so that checkpoints hold both.

    Args:
        network: images -> logits; the mean starts as its copy.
        decay: of the mean; smaller in the first steps, 1 - 1 / (step + 1).
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        super().__init__()
        self.network, self.decay = network, decay
        self.average = twin_of(network).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        """The network's logits."""
        return self.network(images)

    @torch.no_grad()
    def follow(self) -> None:
        """Update the mean with the network's current weights."""
        self.steps += 1
        decay = min(1 - 1 / (int(self.steps) + 1), self.decay)
        for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)


def beta_smoothed(
    network: WithAverage,
    examples: Any,
    recipe: Recipe,
    *,
    concentration: float = 3.0,
    soft_weight: float = 0.6,
    hard_weight: float = 0.4,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train with Beta smoothing (Zhang and Sabuncu 2020, section 6), without any teacher.

    Args:
        network: trained in place; `network.network` is the classifier.
        concentration, soft_weight, hard_weight: 3, 0.6 and 0.4 in the authors' code.
        options: passed to `training.fit`.

    Departures: none in the targets (authors' code read). Their code starts the running mean from
    different random weights, which its first steps forget.
    """

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        check_labels(logits, batch.labels)
        with torch.no_grad():
            probabilities = at_least_float32(network.average(batch.images)).softmax(1)
        sure = probabilities.gather(1, batch.labels[:, None]).squeeze(1)
        targets = beta_targets(sure, batch.labels, logits.shape[1], concentration)
        return {
            "hard": hard_weight * hard_loss(logits, batch.labels),
            "soft": soft_weight * cross_entropy_with(logits, targets),
        }

    return fit_one(network, examples, recipe, terms, seed=seed, after=network.follow, **options)
