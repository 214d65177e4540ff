"""Training examples as batches, and passes over images without training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batches, ImageData, Images, as_batches
from kdnb.training.devices import default_device
from kdnb.training.metrics import predict
from kdnb.training.recipe import Recipe


def batches_for(examples: Any, recipe: Recipe, seed: int) -> Batches:
    """Anybody's examples as batches; an augmentation that would silently not happen is refused."""
    batches = as_batches(examples, recipe.batch_size, seed=seed)
    wanted = {name: getattr(recipe, name) for name in ("crop_padding", "flip", "jitter")}
    if any(value and getattr(batches, name, 0) != value for name, value in wanted.items()):
        raise ValueError(
            f"the recipe asks for {wanted}, which these batches do not do: make them by "
            "`batches_of`, or augment in your Dataset and leave it out of the recipe."
        )
    return batches


def in_order(images: Images, like: Batches | ImageData, device: torch.device) -> Batches:
    """Batches for a pass without training: the images as they are, one after the other.

    Args:
        like: whose `mean` and `sd` of the pixels are taken.
    """
    size = 250 if device.type == "cpu" else 1000  # what fits a cache; what fills an accelerator
    return Batches(images, size, mean=like.mean, sd=like.sd, shuffle=False, device=device)


def examples_of(source: ImageData, spec: dict[str, Any]) -> Images:
    """The training images that a `data_spec` describes."""
    images: Images = getattr(source, spec["split"])
    keep = torch.ones(len(images), dtype=torch.bool)
    if limit := spec.get("limit"):
        keep[limit:] = False
    for label in spec.get("without", []):
        keep &= images.labels != label
    if only := spec.get("only"):
        keep &= torch.isin(images.labels, torch.tensor(only))
    return images.select(keep)


def batches_of(images: Images, source: ImageData, recipe: Recipe, seed: int) -> Batches:
    """Training batches as the recipe wants them."""
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
    """The part of a validation or test set that a `data_spec` looks at."""
    return images.select(slice(data.get("evaluated")))
