"""Labels softened by the network itself: a tolerant teacher, embeddings, Beta smoothing."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses._checks import at_least_float32, check_labels, check_logits
from kdnb.schemes.offline import hard_loss
from kdnb.schemes.self_distillation._common import History, fit_one
from kdnb.training import Recipe


def top_score_difference(logits: Tensor, kept: int = 5) -> Tensor:
    r"""How far the first class stands above the next ones: what a tolerant teacher keeps small.

    .. math:: L = \frac1B \sum_b \Big( q_{(1)} - \frac{1}{K - 1} \sum_{k=2}^{K} q_{(k)} \Big)

    with the probabilities in descending order (Yang 2019, AAAI, equation 4).

    Args:
        logits: (batch, classes).
        kept: K, the classes that may keep a share; 5 in the paper.

    Returns:
        A scalar between 0 and 1.

    Raises:
        ValueError: for another shape, or a `kept` outside [2, classes].

    Departures: whether the scores are probabilities or logits, and K = 5, are recalled;
    re-implementations take probabilities.

    >>> top_score_difference(torch.zeros(1, 4), kept=2)
    tensor(0.)
    """
    check_logits(logits=logits)
    if not 2 <= kept <= logits.shape[1]:
        raise ValueError(f"kept must lie in [2, {logits.shape[1]}]; got {kept}.")
    top = at_least_float32(logits).softmax(1).topk(kept, 1).values
    return (top[:, 0] - top[:, 1:].mean(1)).mean()


def tolerant_teacher(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    kept: int = 5,
    tolerance_weight: float = 0.4,
    hard_weight: float = 0.6,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train a tolerant teacher: hard_weight · cross-entropy + tolerance_weight · top score difference.

    Its students are `born_again` networks; it is the generation 0 that is trained otherwise.

    Args:
        network: trained in place.
        options: of `training.fit`.

    Departures: the paper's weights η and 1 - η are recalled.
    """

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        return {
            "hard": hard_weight * hard_loss(logits, batch.labels),
            "tolerance": tolerance_weight * top_score_difference(logits, kept),
        }

    return fit_one(network, examples, recipe, terms, seed=seed, **options)


def embedding_targets(embeddings: Tensor, labels: Tensor, width: float = 1.0) -> Tensor:
    r"""Soft targets from the distances of the classes' embeddings to the label's.

    .. math:: p_{bk} = \mathrm{softmax}_k \Big( -\frac{\lVert e_{y_b} - e_k \rVert^2}{2 s^2} \Big)

    Args:
        embeddings: (classes, features): the weight of the layer right below the softmax.
        labels: (batch,) integers.
        width: s, in the embeddings' units.

    Returns:
        Probabilities (batch, classes), float32 at least, without gradient, largest at the label.

    Raises:
        ValueError: for other shapes, or a width not above 0.

    Departures: the form is recalled, not confirmed: Hahn and Choi (2019) take the distance of the
    label's embedding to that of a word the model predicts, and approximate the sum over a large
    vocabulary, for which a classifier has no need.
    """
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ValueError(f"embeddings must be (classes, features); got {tuple(embeddings.shape)}.")
    if not width > 0:
        raise ValueError(f"width must be above 0; got {width}.")
    if labels.ndim != 1 or labels.is_floating_point():
        raise ValueError(f"labels must be integers (batch,); got {labels.dtype} {labels.shape}.")
    rows = at_least_float32(embeddings.detach())
    apart = (rows[labels][:, None] - rows).square().sum(2)
    return (-apart / (2 * width**2)).softmax(1)


def cross_entropy_with(logits: Tensor, probabilities: Tensor) -> Tensor:
    """The cross-entropy of probabilities (batch, classes) with the logits' softmax, in nats."""
    check_logits(logits=logits, probabilities=probabilities)
    return -(probabilities * at_least_float32(logits).log_softmax(1)).sum(1).mean()


def embedding_distil(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    head: str = "head",
    width: float = 1.0,
    soft_weight: float = 0.5,
    hard_weight: float = 0.5,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train with the self-knowledge of Hahn and Choi (2019): targets from the network's embeddings.

    Args:
        network: trained in place.
        head: its linear classifier; the rows of the weight are the classes' embeddings.
        soft_weight, hard_weight: of `embedding_targets` and of the labels.
        options: of `training.fit`.

    Raises:
        TypeError: when `head` is no linear layer of the network.

    Departures: the paper raises the soft share in the course of training (recalled); here it is
    constant.
    """
    layer = dict(network.named_modules()).get(head)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{head!r} must be a linear layer of the network.")

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        logits = networks["network"](batch.images)
        targets = embedding_targets(layer.weight, batch.labels, width)
        return {
            "hard": hard_weight * hard_loss(logits, batch.labels),
            "soft": soft_weight * cross_entropy_with(logits, targets),
        }

    return fit_one(network, examples, recipe, terms, seed=seed, **options)


def beta_targets(
    confidence: Tensor, labels: Tensor, classes: int, concentration: float = 3.0
) -> Tensor:
    r"""Zhang and Sabuncu's instance-specific smoothing: each label is smoothed by its own amount.

    One number b ~ Beta(a, 1) is drawn for each sample of the batch; sorted, the largest goes to
    the sample whose label the network is surest of. The label gets b, the other classes share 1 - b.

    Args:
        confidence: (batch,) of a running mean of the network, its probability on the label.
        labels: (batch,) integers.
        classes: at least 2.
        concentration: a > 0; the mean amount of smoothing is 1 / (a + 1).

    Returns:
        Probabilities (batch, classes), float32, without gradient. Random: from torch's state.

    Raises:
        ValueError: for other shapes, fewer than 2 classes, or a concentration not above 0.
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
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        """The network's logits."""
        return self.network(images)

    @torch.no_grad()
    def follow(self) -> None:
        """Take the network's present weights into the mean."""
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
        options: of `training.fit`.

    Departures: none in the targets (authors' code read). Theirs starts the running mean from other
    random weights, which its first steps forget.
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
