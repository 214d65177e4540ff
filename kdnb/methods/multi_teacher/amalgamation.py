"""Layer-wise amalgamation (Shen et al. 2019, AAAI) of classifiers without common classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.multi_teacher.experts import (
    Soft,
    amalgamated,
    check_disjoint,
    check_experts,
    maps_of,
    side_by_side,
    soft_loss,
    to_one_size,
)
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Recipe
from kdnb.training.answers import Output, outputs_of
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, View, layers_of


class FeatureAmalgamation(nn.Module):
    r"""One layer (Shen 2019): encode the teachers' maps at the student's width; imitate the code.

    .. math:: R = E([F_1; \ldots; F_M]), \quad
        \lVert D(R) - [F_1; \ldots; F_M] \rVert^2, \quad \lVert A(F_S) - R \rVert^2

    E, D and A are 1x1 convolutions. R is constant in the imitation term, so that only
    reconstruction determines it.

    Args:
        student_channels, teacher_channels: number of channels of their maps.
    """

    def __init__(self, student_channels: int, teacher_channels: Sequence[int]) -> None:
        super().__init__()
        whole = sum(teacher_channels)
        self.encoder = nn.Conv2d(whole, student_channels, 1)
        self.decoder = nn.Conv2d(student_channels, whole, 1)
        self.adapter = nn.Conv2d(student_channels, student_channels, 1)

    def forward(
        self, student_maps: Tensor, teacher_maps: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Mean squared errors of restoring and imitating; maps are pooled to the smallest size."""
        ours, *theirs = to_one_size([student_maps, *teacher_maps])
        together = torch.cat(theirs, 1)
        made = self.encoder(together)
        restored = losses.hint(self.decoder(made), together, "common")
        return restored, losses.hint(self.adapter(ours), made.detach(), "common")


class Layerwise(nn.Module):
    """A `FeatureAmalgamation` for each layer.

    Args:
        student_channels: number of channels of each layer.
        teacher_channels: number of channels of each layer, those of all teachers.
    """

    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        pairs = zip(student_channels, teacher_channels, strict=True)
        self.blocks = nn.ModuleList(FeatureAmalgamation(*pair) for pair in pairs)

    def forward(
        self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Sequence[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Both terms, summed over layers; maps are indexed `teacher_maps[layer][teacher]`."""
        layers = zip(self.blocks, student_maps, teacher_maps, strict=True)
        restoring, imitating = zip(
            *(block(own, others) for block, own, others in layers), strict=True
        )
        return sum(restoring), sum(imitating)


def amalgamate(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    class_sets: Sequence[Sequence[int]],
    data: Any,
    recipe: Recipe | None = None,
    *,
    soft: Soft = "others",
    soft_weight: float = 1.0,
    feature_weight: float = 1.0,
    layers: Sequence[Layers] | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    output: Output | tuple[Output, Output] = None,
    **fields: Any,
) -> Fit:
    r"""Train one student of all classes from teachers of disjoint classes (Shen 2019).

    .. math:: L = \lambda_s L_{soft} + \lambda_f \sum_n \big(\text{restoring}_n +
        \text{imitating}_n\big)

    with a :class:`FeatureAmalgamation` for each layer n.

    Args:
        student: a logit for each class; trained in place.
        teachers: frozen.
        class_sets: for each teacher, the indices of its classes, in the order of its logits.
        data: unlabelled; any labels are ignored.
        soft: "others" is for teachers with an additional last logit for images of none of their
            classes, which makes the probabilities of all classes comparable. "concatenated" and
            "squared" concatenate raw logits and use KL at T = 1, as released code does, or half the
            squared distance. See :func:`kdnb.methods.multi_teacher.experts.side_by_side`.
        soft_weight, feature_weight: weights of the terms.
        layers: the layers of the student and then of each teacher, as many maps each; found by
            `layers_of` if left out.
        recipe, evaluate, seed, checkpoint, output, fields: as in `kdnb.distil`.

    Returns:
        The history, with `soft`, `restoring` and `imitating`; the student, as
        `fit.networks["student"]`; the layers' modules, as `fit.learnt`.

    Raises:
        ValueError: for teachers that share a class, numbers of logits or layers that do not match,
            or as `kdnb.distil`.

    Departures: follows released code (KamalEngine, `layerwise_amalgamation.py`). Everything is
    trained in one pass, while the paper, as recalled, first trains layer by layer. "others" is
    ours, because the offsets of two teachers' raw logits are unrelated. The weights are ours.
    """
    recipe = recipe_of(amalgamate, recipe, fields)
    check_choice(get_args(Soft), soft=soft)
    check_number(least=0, soft_weight=soft_weight, feature_weight=feature_weight)
    outputs = outputs_of(output)
    batches = batches_for(data, recipe, seed, "none", given=fields)
    first = first_batch(batches, seed)
    classes = check_experts(student, teachers, class_sets, first, outputs, others=soft == "others")
    check_disjoint(class_sets, classes)
    at = [layers_of(one) for one in (student, *teachers)] if layers is None else list(layers)

    def made(shown: list[View]) -> Layerwise:
        widths = [[one.shape[1] for one in maps] for maps in maps_of(shown)]
        return Layerwise(widths[0], list(zip(*widths[1:], strict=True)))

    def terms(blocks: nn.Module, ours: View, theirs: list[View]) -> dict[str, Tensor]:
        target = side_by_side([view.logits for view in theirs], class_sets, classes, soft)
        own, *others = maps_of([ours, *theirs])
        restoring, imitating = blocks(own, list(zip(*others, strict=True)))
        return {
            "soft": soft_weight * soft_loss(ours.logits, target, soft),
            "restoring": feature_weight * restoring,
            "imitating": feature_weight * imitating,
        }

    return amalgamated(
        student, teachers, at, batches, first, recipe, made=made, terms=terms, seed=seed,
        checkpoint=checkpoint, evaluate=evaluate, outputs=outputs,
        about={"verb": "amalgamate", "soft": soft, "soft_weight": soft_weight,
               "feature_weight": feature_weight},
    )  # fmt: skip
