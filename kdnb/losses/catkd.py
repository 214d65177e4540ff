"""CAT-KD: class attention transfer (Guo et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdnb.losses._arithmetic import no_autocast, unit
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_maps,
    check_number,
    check_parameters,
    check_together,
    check_variant,
)


def class_activation_maps(maps: Tensor, classifier_weight: Tensor) -> Tensor:
    """The map of each class: the channels before global pooling, weighted by the classifier.

    Args:
        maps: (batch, channels, height, width).
        classifier_weight: (classes, channels), the weight of the linear classifier.

    Returns:
        (batch, classes, height, width). The mean over positions is the logits minus the bias.

    >>> class_activation_maps(torch.ones(1, 2, 1, 1), torch.tensor([[1.0, 2.0]])).item()
    3.0
    """
    check_maps(maps=maps)
    check_parameters(classifier_weight=classifier_weight)
    if classifier_weight.ndim != 2 or classifier_weight.shape[1] != maps.shape[1]:
        raise ValueError(
            f"classifier_weight must be (classes, {maps.shape[1]}) for maps {tuple(maps.shape)}; "
            f"got {tuple(classifier_weight.shape)}."
        )
    check_together(maps=maps, classifier_weight=classifier_weight)
    with no_autocast(maps):
        weight, features = at_least_float32(classifier_weight), at_least_float32(maps)
        dtype = torch.promote_types(weight.dtype, features.dtype)
        return torch.einsum("kc,bchw->bkhw", weight.to(dtype), features.to(dtype))


def class_attention(
    student_activation_maps: Tensor,
    teacher_activation_maps: Tensor,
    resolution: int = 2,
    variant: Variant = "paper",
) -> Tensor:
    r"""Class attention transfer, CAT-KD (Guo 2023): pooled, normalised class activation maps.

    .. math:: L = \frac{1}{BK} \sum_b \sum_k \Big\lVert
        \frac{\phi(M^S_k)}{\lVert \phi(M^S_k) \rVert_2}
        - \frac{\phi(M^T_k)}{\lVert \phi(M^T_k) \rVert_2} \Big\rVert_2^2

    with K classes, the maps M of :func:`class_activation_maps` and average pooling phi.

    Args:
        student_activation_maps, teacher_activation_maps: (batch, classes, height, width); the
            spatial sizes may differ.
        resolution: side of the pooled maps; in the authors' settings 2 on CIFAR-100, but 4 for
            ShuffleNets and on ImageNet (GzyAftermath/CAT-KD, `CAM_RESOLUTION`).
        variant: "authors" averages over the pooled positions too, so its value is resolution² times
            smaller.

    Returns:
        A scalar without unit, between 0 and 4.

    Raises:
        ValueError: for wrong shapes, different classes, or a resolution below 1.

    Departures: the paper's equation is recalled; resolution, pooling, normalisation
    and the mean over elements are confirmed in the authors' code.

    >>> class_attention(torch.ones(1, 3, 4, 4), -torch.ones(1, 3, 2, 2))
    tensor(4.)
    """
    check_variant(variant)
    check_maps(
        "BC",
        student_activation_maps=student_activation_maps,
        teacher_activation_maps=teacher_activation_maps,
    )
    check_number(least=1, whole=True, resolution=resolution)
    student, teacher = (
        unit(F.adaptive_avg_pool2d(at_least_float32(maps), int(resolution)), (2, 3))
        for maps in (student_activation_maps, teacher_activation_maps)
    )
    distance = (student - teacher).square()
    return distance.mean() if variant == "authors" else distance.sum(dim=(2, 3)).mean()
