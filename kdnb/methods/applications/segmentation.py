"""Dense prediction: pixel-wise, pair-wise and channel-wise distillation of segmentation.

`pixel_wise` distillation is KD on dense logits, the same as `kdnb.distil(..., method="kd")`. The
other two need the maps themselves, which :func:`distil_segmentation` provides.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdnb.losses import channel_wise, pair_wise, pixel_wise
from kdnb.losses.checks import check_number
from kdnb.methods.catalogue import Method
from kdnb.methods.offline.distil import distil
from kdnb.methods.wiring import on_last_layer
from kdnb.training import Fit, Recipe
from kdnb.training.borrowed import evaluating
from kdnb.training.layers import Layers
from kdnb.training.targets import NOTHING, check_range


class SegmentationNet(nn.Module):
    """A small segmentation network: down to 1/4 of the side, up to 1/2, then enlarged.

    Args:
        width: channels at full resolution; twice as many at half, four times at a quarter.
        classes: the number of classes, including the background.

    `features` are the maps that the classifier reads, at half the resolution; `classifier` is a 1x1
    convolution.
    """

    def __init__(self, width: int = 8, classes: int = 11) -> None:
        super().__init__()
        self.first = _block(3, width)
        self.second = nn.Sequential(nn.MaxPool2d(2), _block(width, 2 * width))
        self.third = nn.Sequential(nn.MaxPool2d(2), _block(2 * width, 4 * width))
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.features = _block(6 * width, 2 * width)
        self.classifier = nn.Conv2d(2 * width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes, height, width); sides are multiples of 4."""
        second = self.second(self.first(images))
        features = self.features(torch.cat([self.up(self.third(second)), second], 1))
        return self.up(self.classifier(features))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def distil_segmentation(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe,
    *,
    pixel: float = 0.0,
    pair: float = 0.0,
    channel: float = 0.0,
    nodes: int = 8,
    temperature: float = 4.0,
    paths: tuple[str, str] = ("features", "features"),
    label_weight: float = 1.0,
    evaluate: Any = None,
    seed: int = 0,
) -> Fit:
    r"""Structured distillation of dense prediction (Liu et al. 2019; Shu et al. 2021).

    .. math:: L = w_h H(y, q) + \lambda_1 L_{pixel} + \lambda_2 L_{pair} + \lambda_3 L_{channel}

    Args:
        student, teacher: images -> logits (batch, classes, height, width) of the same shape.
        data: (images, masks), as `kdnb.distil` takes them.
        pixel: lambda_1, of :func:`kdnb.losses.pixel_wise`, at T = 1.
        pair: lambda_2, of :func:`kdnb.losses.pair_wise` on the maps at `paths`.
        channel: lambda_3, of :func:`kdnb.losses.channel_wise` on the logits, at `temperature`.
        nodes: the side of the pooled maps whose positions are compared in pairs.
        paths: modules of student and teacher, the same for both networks of
            :class:`SegmentationNet`.
        label_weight: w_h.

    Returns:
        The history, with `hard` and the terms that have a weight; the student.

    Raises:
        ValueError: if no term has a weight.

    Departures: the paper's third term, a critic of whole answers, is left out; see
    `kdnb.losses.judging_loss`. Its weights (10 for both terms) are recalled.
    """
    check_number(least=0, pixel=pixel, pair=pair, channel=channel)

    # A callable that takes labels gets the dense logits unchanged.
    def pixels(ours: Tensor, theirs: Tensor, labels: Tensor) -> Tensor:
        return pixel_wise(ours, theirs)

    def channels(ours: Tensor, theirs: Tensor, labels: Tensor) -> Tensor:
        return channel_wise(ours, theirs, temperature)

    pairs = Method(
        "7.1", "liu2019skd", "Pair-wise", on_last_layer(pair_wise, nodes=nodes), weight=1.0
    )
    chosen = {
        "pixels": (pixels, pixel),
        "knowledge": (pairs, pair),
        "channels": (channels, channel),
    }
    kept = {name: (method, weight) for name, (method, weight) in chosen.items() if weight}
    if not kept:
        raise ValueError("pixel, pair or channel must be above 0; got 0 for all of them.")
    layers = tuple(Layers(maps=(path,)) for path in paths) if pair else None
    return distil(
        student, teacher, data, recipe, method=[method for method, _ in kept.values()],
        weight={name: weight for name, (_, weight) in kept.items()}, label_weight=label_weight,
        layers=layers, evaluate=evaluate, seed=seed,
    )  # fmt: skip


def predicted_masks(network: nn.Module, images: Tensor, batch: int = 250) -> Tensor:
    """The most likely class of every pixel, (N, height, width) int64, in eval mode."""
    with evaluating(network), torch.no_grad():
        return torch.cat([network(part).argmax(1) for part in images.split(batch)])


def intersection_over_union(
    predicted: Tensor, masks: Tensor, classes: int, ignore_index: int = NOTHING
) -> Tensor:
    r"""IoU of every class: pixels that both call c, over pixels that either does.

    Their mean is the mIoU. It reveals a network that never predicts a small class, which the share
    of correct pixels hardly does.

    Args:
        predicted, masks: (N, height, width) integers from 0.
        classes: how many, the background among them.
        ignore_index: of masks, the label of pixels that do not count.

    Returns:
        (classes,), NaN for a class that occurs in neither.

    >>> masks = torch.tensor([[[0, 0], [1, 1]]])
    >>> intersection_over_union(torch.tensor([[[0, 1], [1, 1]]]), masks, 2)
    tensor([0.5000, 0.6667])
    """
    if predicted.shape != masks.shape:
        raise ValueError(
            f"masks must have one shape; got {tuple(predicted.shape)} and {tuple(masks.shape)}."
        )
    check_number(least=1, whole=True, classes=classes)
    kept = masks != ignore_index
    predicted, masks = predicted[kept].long(), masks[kept].long()
    for labels in (predicted, masks):
        check_range(labels.cpu(), classes, ignore_index)
    table = torch.bincount(classes * masks + predicted, minlength=classes**2)
    table = table.view(classes, classes).float()
    both = table.diagonal()
    return both / (table.sum(0) + table.sum(1) - both)
