"""Data distillation (Radosavovic et al. 2018): label data by one model on several views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batches, Images
from kdnb.losses.checks import at_least_float32
from kdnb.methods.offline.distil import train
from kdnb.methods.online.common import Distortion
from kdnb.training import Recipe
from kdnb.training.borrowed import evaluating


def shifts(pixels: int) -> list[Distortion]:
    """The image itself, and moved by some pixels up, down, left and right.

    Args:
        pixels: at least 1; the border is replicated.

    Returns:
        Five functions of images (batch, channels, height, width).
    """
    if pixels < 1:
        raise ValueError(f"a shift needs 1 pixel or more; got {pixels}.")

    def moved(down: int, right: int) -> Distortion:
        def view(images: Tensor) -> Tensor:
            padded = nn.functional.pad(images, (pixels,) * 4, mode="replicate")
            top, left = pixels - down, pixels - right
            return padded[..., top : top + images.shape[2], left : left + images.shape[3]]

        return view

    places = [(0, 0), (-pixels, 0), (pixels, 0), (0, -pixels), (0, pixels)]
    return [moved(*place) for place in places]


@torch.no_grad()
def ensembled(network: nn.Module, images: Tensor, views: Sequence[Distortion]) -> Tensor:
    r"""The mean of a network's answers to several views of the same images (Radosavovic 2018).

    .. math:: \hat y = \frac1V \sum_v \mathrm{softmax}\big(f(t_v(x))\big)

    (Radosavovic et al. 2018, section 3). It needs only one trained model.

    Args:
        network: images -> logits, run in eval mode.
        images: (batch, channels, height, width).
        views: functions of images, at least one.

    Returns:
        Probabilities (batch, classes), float32 at least.

    Raises:
        ValueError: without views.
    """
    if not views:
        raise ValueError("an ensemble over views needs at least one view.")
    with evaluating(network):
        answers = [at_least_float32(network(view(images))).softmax(1) for view in views]
    return torch.stack(answers).mean(0)


def self_labelled(
    network: nn.Module, batches: Batches, views: Sequence[Distortion], *, confidence: float = 0.0
) -> Images:
    """Hard labels for unlabelled images on which the ensemble over views is confident enough.

    Args:
        network: trained on the labelled data.
        batches: of the unlabelled images, not shuffled and not augmented; labels are not read.
        views: see `ensembled`.
        confidence: images whose largest mean probability is lower are left out; the paper keeps the
            number expected from the labelled data.

    Returns:
        The kept images with the ensemble's labels.

    Raises:
        ValueError: for shuffled or augmented batches, or a confidence outside [0, 1).
    """
    if batches.shuffle or batches.augmented:
        raise ValueError("labels are given in order: take batches with shuffle=False, unaugmented.")
    if not 0 <= confidence < 1:
        raise ValueError(f"confidence must lie in [0, 1); got {confidence}.")
    answers = [ensembled(network, batch.images, views) for batch in batches.epoch(0)]
    highest, labels = torch.cat(answers).max(1)
    kept = highest >= confidence
    pictures = batches.images.images
    return Images(pictures[kept], labels[kept].to(pictures.device))


def omni_supervised(
    student: nn.Module,
    labelled: Images,
    generated: Images,
    recipe: Recipe,
    *,
    mean: Sequence[float],
    sd: Sequence[float],
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    """Retrain on the union of true and generated labels, mixed in every batch.

    Args:
        student: trained in place, from scratch or from the model that made the labels.
        labelled, generated: see `self_labelled`.
        recipe: the paper lengthens the schedule with the data.
        mean, sd: by which the images are normalised.
        options: passed to `training.fit`.

    Returns:
        The history of `offline.train`.
    """
    union = Images(
        torch.cat([labelled.images, generated.images]),
        torch.cat([labelled.labels, generated.labels]),
    )
    batches = Batches(
        union, recipe.batch_size, mean=mean, sd=sd, seed=seed, crop_padding=recipe.crop_padding,
        flip=recipe.flip, jitter=recipe.jitter,
    )  # fmt: skip
    return train(student, batches, recipe, seed=seed, **options).rows
