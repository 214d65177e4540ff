"""Training examples as batches, and passes over images without training."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batches, ImageData, Images, as_batches, in_order
from kdnb.data.cards import Card
from kdnb.data.loaders import Labels, LoaderBatches
from kdnb.training.devices import default_device
from kdnb.training.metrics import predict
from kdnb.training.randomness import check_seed
from kdnb.training.recipe import Recipe


def batches_for(
    examples: Any, recipe: Recipe, seed: int, labels: Labels = "classes", given: Container[str] = ()
) -> Batches:
    """Any examples as batches; recipe fields that would have no effect are refused.

    Args:
        examples: `Images` of a data set, normalised by its card and augmented by the recipe; or
            anything that `as_batches` takes.
        labels: see `LoaderBatches`.
        given: the recipe's fields that the caller passed.

    Raises:
        ValueError: for an augmentation that would have no effect, a batch size that the batches
            do not have, or images without a card.
    """
    check_seed(seed)
    seed = int(seed)  # NumPy's would make other data of the same
    if isinstance(examples, Images):
        return _of_card(examples, recipe, seed)
    batches = as_batches(examples, recipe.batch_size, seed=seed, labels=labels)
    if not len(batches):
        raise ValueError("this data gives no batch.")
    wanted = {name: getattr(recipe, name) for name in AUGMENTATIONS}
    for name, value in wanted.items():
        if (value or name in given) and getattr(batches, name, type(value)()) != value:
            raise ValueError(
                f"the recipe asks for {wanted}, which these batches do not do: make them by "
                "`batches_of`, or augment in your Dataset and leave it out of the recipe."
            )
    made = getattr(getattr(batches, "loader", batches), "batch_size", None)
    if "batch_size" in given and made != recipe.batch_size:
        if isinstance(batches, LoaderBatches) and isinstance(batches.loader, (tuple, list)):
            next(iter(batches))  # raises for something that is not a batch at all
        raise ValueError(
            f"batch_size={recipe.batch_size} would be ignored: the batches are made already, of "
            f"{made or 'their own'} samples each."
        )
    return batches


AUGMENTATIONS = ("crop_padding", "flip", "jitter")


def _of_card(images: Images, recipe: Recipe, seed: int) -> Batches:
    if images.card is None:
        raise ValueError(
            "these Images belong to no data set whose card would normalise them: make them by "
            "kdnb.data.own_images, or give kdnb.data.Batches(images, ..., mean=..., sd=...)."
        )
    return batches_of(images, images.card, recipe, seed)


def examples_of(source: ImageData, spec: dict[str, Any]) -> Images:
    """The training images that a `data_spec` describes."""
    images: Images = getattr(source, spec["split"])
    keep = torch.ones(len(images), dtype=torch.bool)
    first = spec.get("skip", 0)
    keep[:first] = False
    if limit := spec.get("limit"):
        keep[first + limit :] = False
    for label in spec.get("without", []):
        keep &= images.labels != label
    if only := spec.get("only"):
        keep &= torch.isin(images.labels, torch.tensor(only))
    return images.select(keep)


def batches_of(images: Images, source: ImageData | Card, recipe: Recipe, seed: int) -> Batches:
    """Training batches as the recipe specifies them."""
    return Batches(
        images, recipe.batch_size, mean=source.mean, sd=source.sd, seed=seed,
        crop_padding=recipe.crop_padding, flip=recipe.flip, jitter=recipe.jitter,
        device=default_device(),
    )  # fmt: skip


def logits_on(network: nn.Module, images: Images, source: ImageData) -> Tensor:
    """The network's logits on un-augmented images, (examples, classes) float32 on the CPU."""
    device = next(network.parameters()).device
    return predict(network, in_order(images, source, device))


def evaluated(images: Images, data: dict[str, Any]) -> Images:
    """The part of a validation or test set that a `data_spec` uses."""
    return images.select(slice(data.get("evaluated")))
