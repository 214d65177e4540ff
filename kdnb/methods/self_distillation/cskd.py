"""Class-wise self-distillation, CS-KD (Yun 2020): similar answers for images of one class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data.batches import Batch, mixed_seed
from kdnb.losses import class_wise, hard_loss
from kdnb.methods.self_distillation.common import History, PairedBatches, fit_one
from kdnb.training import Recipe
from kdnb.training.inputs import batches_for


def class_partners(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A random other image of the same class for every image.

    Args:
        labels: (examples,) integers, on the CPU.

    Returns:
        (examples,) int64; an image that is alone in its class is its own partner.

    >>> class_partners(torch.tensor([0, 1, 0, 1, 2]), torch.Generator()).tolist()
    [2, 3, 0, 1, 4]
    """
    partners = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = len(members)
        # Cyclically 1 to count - 1 positions further in the class, so never the image itself.
        steps = 1 + torch.randint(max(1, count - 1), (count,), generator=generator)
        partners[members] = members[(torch.arange(count) + steps) % count]
    return partners


def class_wise_distil(
    network: nn.Module,
    examples: Any,
    recipe: Recipe,
    *,
    temperature: float = 4.0,
    soft_weight: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train with CS-KD: cross-entropy + soft_weight · `class_wise`.

    Args:
        network: trained in place.
        examples: `Batches`; every image gets a new partner of its class in every epoch, augmented
            independently. A step runs the network twice, once without gradient.
        soft_weight: the paper's λ; 1 for CIFAR-100, up to 3 for fine-grained data.
        options: passed to `training.fit`.

    Departures: none in the loss (paper and authors' code). The authors draw the partner from the
    whole class, so it is sometimes the image itself. As here, their batch of 128 has 128 images and
    as many partners.
    """
    batches = batches_for(examples, recipe, seed)

    def partners(epoch: int) -> Tensor:
        stream = torch.Generator().manual_seed(mixed_seed(seed, epoch, "class partners"))
        return class_partners(batches.images.labels.cpu(), stream)

    def terms(networks: Any, batch: Batch) -> dict[str, Tensor]:
        images, others = batch.images.chunk(2)
        logits = networks["network"](images)
        with torch.no_grad():
            partner = networks["network"](others)
        return {
            "hard": hard_loss(logits, batch.labels[: len(images)]),
            "soft": soft_weight * class_wise(logits, partner, temperature),
        }

    paired = PairedBatches(batches, partners)
    return fit_one(network, paired, recipe, terms, seed=seed, **options)
