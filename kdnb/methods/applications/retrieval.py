"""Retrieval of unseen classes: embeddings, batches of few classes, and recall.

Face recognition, re-identification and product search need distances between embeddings, not
classes.
The classes of the test images are new, so what counts is whether images of one class lie close
together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import rkd_angle, rkd_distance
from kdnb.losses.checks import check_classes, check_number, check_samples
from kdnb.methods.offline.distil import train
from kdnb.training import Fit, Recipe
from kdnb.training.metrics import outputs_for

NEAREST, FARTHEST = 0.5, 1.4  # distances on the unit sphere between which negatives are drawn


class Normalised(nn.Module):
    """A network whose embeddings are normalised to length 1.

    Args:
        network: inputs -> (batch, features).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Any) -> Tensor:
        """(batch, features), each row of length 1."""
        return F.normalize(self.network(inputs))


class ClassBatches:
    """Batches with several images of each of a few classes, so that every image has a positive.

    Args:
        inputs: (N, ...), as the network takes them.
        labels: (N,) integers.
        targets: (N, ...), what the loss reads together with the embeddings; the labels if None.
        classes: how many different classes a batch has.
        each: how many different images of each.

    Every batch is a fresh draw; an epoch has at most as many images as the data. The order follows
    the seed of the training function.

    Raises:
        ValueError: if there are fewer classes, or too few images of a class.
    """

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        targets: Tensor | None = None,
        *,
        classes: int = 12,
        each: int = 5,
    ) -> None:
        check_number(least=2, whole=True, classes=classes, each=each)
        check_classes(len(inputs), whole=True, labels=labels)
        targets = labels if targets is None else targets
        if len(targets) != len(inputs):
            raise ValueError(
                f"targets must be one for each input; got {len(targets)} and {len(inputs)}."
            )
        self.members = [torch.nonzero(labels == one)[:, 0] for one in labels.unique().tolist()]
        fewest = min(map(len, self.members))
        if len(self.members) < classes or fewest < each:
            raise ValueError(
                f"a batch of {classes} classes with {each} images each needs so many; got "
                f"{len(self.members)} classes, the smallest of {fewest} images."
            )
        self.inputs, self.targets = inputs, targets
        self.classes, self.each = classes, each
        self.generator = torch.Generator()

    def __len__(self) -> int:
        return max(1, len(self.inputs) // (self.classes * self.each))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(len(self)):
            drawn = torch.randperm(len(self.members), generator=self.generator)[: self.classes]
            parts = [self.members[one] for one in drawn.tolist()]
            places = torch.cat(
                [
                    part[torch.randperm(len(part), generator=self.generator)[: self.each]]
                    for part in parts
                ]
            )
            yield self.inputs[places], self.targets[places]


def embed(network: nn.Module, inputs: Tensor, batch: int = 500) -> Tensor:
    """The embeddings of all inputs, (N, features) float32, in eval mode and without gradients.

    The network's mode is restored.
    """
    return outputs_for(network, inputs, batch)


def recall_at(embeddings: Tensor, labels: Tensor, ks: Sequence[int] = (1,)) -> list[float]:
    """Recall@K: the share of images with one of their class among the K nearest others.

    Each image is a query; the others are ranked by Euclidean distance.

    Args:
        embeddings: (N, features).
        labels: (N,) integers.
        ks: how many neighbours, each from 1 to N - 1.

    Returns:
        One number in [0, 1] for each K.

    >>> recall_at(torch.tensor([[0.0], [1.0], [5.0], [5.5]]), torch.tensor([0, 1, 1, 1]), (1, 3))
    [0.5, 0.75]
    """
    check_samples(embeddings=embeddings)
    check_classes(len(embeddings), whole=True, labels=labels)
    for k in ks:
        check_number(least=1, most=len(embeddings) - 1, whole=True, k=k)
    found = torch.zeros(len(ks), dtype=torch.int64)
    for start in range(0, len(embeddings), 1000):
        part = embeddings[start : start + 1000]
        distances = torch.cdist(part, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
        own = torch.arange(len(part))
        distances[own, own + start] = torch.inf
        nearest = distances.topk(max(ks), largest=False).indices
        right = labels[nearest] == labels[start : start + len(part), None]
        found += torch.tensor([int(right[:, :k].any(1).sum()) for k in ks])
    return (found / len(embeddings)).tolist()


def distance_weighted(embeddings: Tensor, labels: Tensor) -> Tensor:
    r"""Triplets (anchor, positive, negative), one negative for each pair of a class.

    A negative at distance d is drawn with probability proportional to the inverse of
    :math:`d^{n-2} (1 - d^2/4)^{(n-3)/2}`, the density of distances between random points of the
    unit sphere in n dimensions (Wu et al. 2017), so that all distances up to 1.4 are equally
    frequent.

    Args:
        embeddings: (batch, n) of length 1; no gradient flows.
        labels: (batch,) integers.

    Returns:
        (triplets, 3) indices; none where no class has two samples, or all samples are of one class.

    As in the code of Park et al. (2019): distances under 0.5 count as 0.5, and an anchor without a
    negative nearer than 1.4 draws among all.
    """
    n = embeddings.shape[1]
    same = labels[:, None] == labels[None]
    other = ~same
    pairs = torch.nonzero(same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device))
    if not len(pairs) or not bool(other.any()):
        return pairs.new_zeros(0, 3)
    distance = torch.cdist(embeddings.detach(), embeddings.detach()).clamp_min(NEAREST)
    inside = (1 - distance.square() / 4).clamp_min(1e-6)
    weight = (2.0 - n) * distance.log() - (n - 3) / 2 * inside.log()
    weight = weight.masked_fill(~(other & (distance < FARTHEST)), -torch.inf)
    none = torch.isneginf(weight).all(1)
    weight[none] = torch.where(other[none], 0.0, -torch.inf)
    negative = torch.multinomial(weight.softmax(1)[pairs[:, 0]], 1)
    return torch.cat([pairs, negative], dim=1)


def triplet_loss(embeddings: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    r"""The mean of :math:`\max(|a - p| - |a - n| + m, 0)` over :func:`distance_weighted` triplets.

    Args:
        embeddings: (batch, features), of length 1.
        labels: (batch,) integers.
        margin: m, in the unit of the embeddings.

    Returns:
        A scalar; 0 where there is no triplet. Its negatives are drawn from torch's global
        generator.
    """
    check_samples(embeddings=embeddings)
    check_number(least=0, margin=margin)
    anchor, positive, negative = distance_weighted(embeddings, labels).unbind(1)
    if not len(anchor):
        return embeddings.sum() * 0
    chosen = (embeddings[one] for one in (anchor, positive, negative))
    return F.triplet_margin_loss(*chosen, margin=margin)


def relations(
    student: Tensor, teacher: Tensor, distance_weight: float = 1.0, angle_weight: float = 2.0
) -> Tensor:
    """RKD-DA as the authors use it for retrieval: distance weight 1, angle weight 2.

    Args:
        student, teacher: (batch, ...) embeddings, at least 3; widths may differ. The authors leave
            the student's unnormalised.
        distance_weight, angle_weight: at least 0; a term of weight 0 is not computed.

    >>> corner = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    >>> relations(5 * corner + 1, corner).item() < 1e-6
    True
    """
    check_number(least=0, distance_weight=distance_weight, angle_weight=angle_weight)
    loss = student.sum() * 0
    if distance_weight:
        loss = loss + distance_weight * rkd_distance(student, teacher, "authors")
    if angle_weight:
        loss = loss + angle_weight * rkd_angle(student, teacher, "authors")
    return loss


def class_mean_logits(embeddings: Tensor, labels: Tensor, scale: float = 10.0) -> Tensor:
    """Logits for a teacher that has only embeddings: scaled cosines with the class means.

    Args:
        embeddings: (N, features).
        labels: (N,) integers from 0; every class up to the largest has a sample.
        scale: the factor of the cosines, above 0.

    Returns:
        (N, classes).
    """
    check_number(above=0, scale=scale)
    check_classes(len(embeddings), whole=True, labels=labels)
    unit = F.normalize(embeddings)
    means = torch.stack([unit[labels == one].mean(0) for one in range(int(labels.max()) + 1)])
    return scale * unit @ F.normalize(means).T


def learn_embedding(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    targets: Tensor | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = triplet_loss,
    classes: int = 12,
    each: int = 5,
    seed: int = 0,
    checkpoint: Any = None,
) -> Fit:
    """Train an embedding on labels or on a teacher's embeddings.

    Without a teacher: `learn_embedding(Normalised(network), inputs, labels, recipe)`. With one:
    `learn_embedding(network, inputs, labels, recipe, targets=embed(teacher, inputs),
    loss=relations)`. Images that never change have one target each, so the teacher is evaluated
    once.

    Args:
        network: inputs -> (batch, features); trained in place.
        inputs: (N, ...), as the network takes them.
        labels: (N,) integers, by which batches are drawn; the loss reads them where `targets` is
            None.
        recipe: its batch size is ignored: a batch has `classes` times `each` images.
        targets: (N, ...) what the loss reads, such as a teacher's embeddings.
        loss: (embeddings, targets) -> scalar.
        classes, each: as in :class:`ClassBatches`.
        seed: for the batches and the draws of the loss.

    Returns:
        The history, with the term `loss`.
    """
    batches = ClassBatches(inputs, labels, targets, classes=classes, each=each)
    return train(network, batches, recipe, loss=loss, seed=seed, checkpoint=checkpoint)
