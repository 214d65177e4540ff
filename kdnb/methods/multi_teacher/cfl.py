"""Amalgamation in a common feature space (Luo et al. 2019): teachers of any architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from kdnb import losses
from kdnb.losses.checks import check_choice, check_number
from kdnb.methods.multi_teacher.experts import (
    Soft,
    amalgamated,
    check_disjoint,
    check_experts,
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


class CommonSpace(nn.Module):
    r"""The common space of the last maps of student and teachers (Luo 2019).

    .. math:: h_m = G(a_m(F_m)), \quad h_S = G(a_S(F_S)), \quad
        \mathrm{MMD}^2(h_S, h_m), \quad \lVert d_m(h_m) - F_m \rVert^2

    Each a is a 1x1 convolution with batch normalisation and ReLU, G two residual blocks that all
    share, each d a 1x1 convolution. The discrepancy also trains the teachers' a and G; only the
    reconstruction term keeps them from mapping everything to one point.

    Args:
        student_channels, teacher_channels: number of channels of the last maps.
        channels: number of channels of the common space.
    """

    def __init__(
        self, student_channels: int, teacher_channels: Sequence[int], channels: int
    ) -> None:
        super().__init__()
        self.student = _adaptor(student_channels, channels)
        self.teachers = nn.ModuleList(_adaptor(width, channels) for width in teacher_channels)
        self.shared = nn.Sequential(Residual(channels), Residual(channels))
        self.decoders = nn.ModuleList(nn.Conv2d(channels, w, 1) for w in teacher_channels)

    def forward(
        self, student_maps: Tensor, teacher_maps: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The discrepancy and the restoring, summed over teachers, and the teachers' features.

        Maps are pooled to the smallest size.
        """
        ours, *theirs = to_one_size([student_maps, *teacher_maps])
        own = self.shared(self.student(ours))
        found = [self.shared(a(maps)) for a, maps in zip(self.teachers, theirs, strict=True)]
        apart = sum(losses.common_feature_discrepancy(own, other) for other in found)
        restored = sum(
            losses.hint(decoder(other), maps, "common")
            for decoder, other, maps in zip(self.decoders, found, theirs, strict=True)
        )
        return apart, restored, found


class Residual(nn.Module):
    """Two 3x3 convolutions with batch normalisation beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        inner = F.relu(self.norms[0](self.first(maps)))
        return F.relu(maps + self.norms[1](self.second(inner)))


def _adaptor(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def learn_common_features(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    class_sets: Sequence[Sequence[int]],
    data: Any,
    recipe: Recipe | None = None,
    *,
    soft: Soft = "others",
    soft_weight: float = 1.0,
    discrepancy_weight: float = 1.0,
    restoring_weight: float = 1.0,
    channels: int | None = None,
    layers: Sequence[Layers] | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    output: Output | tuple[Output, Output] = None,
    **fields: Any,
) -> Fit:
    r"""Train one student of all classes that matches all teachers in a common space (Luo 2019).

    .. math:: L = \lambda_s L_{soft} + \lambda_d \sum_m \mathrm{MMD}^2(h_S, h_m)
        + \lambda_r \sum_m \lVert d_m(h_m) - F_m \rVert^2

    with :class:`CommonSpace` for the last maps of each network.

    Args:
        student, teachers, class_sets, data, soft, layers: as in
            :func:`kdnb.methods.multi_teacher.amalgamation.amalgamate`; only the last map of
            `layers` is used.
        soft_weight, discrepancy_weight, restoring_weight: weights of the terms.
        channels: number of channels of the common space; a quarter of the student's if left out.
        recipe, evaluate, seed, checkpoint, output, fields: as in `kdnb.distil`.

    Returns:
        The history, with `soft`, `discrepancy` and `restoring`; the student, as
        `fit.networks["student"]`; the common space, as `fit.learnt`.

    Raises:
        ValueError: for teachers that share a class, numbers of logits that do not match, or as
            `kdnb.distil`.

    Departures: follows released code (KamalEngine, `common_feature.py`); "others" and the weights
    are ours.
    """
    recipe = recipe_of(learn_common_features, recipe, fields)
    check_choice(get_args(Soft), soft=soft)
    weights = {
        "soft": soft_weight, "discrepancy": discrepancy_weight, "restoring": restoring_weight,
    }  # fmt: skip
    check_number(least=0, **{f"{name}_weight": value for name, value in weights.items()})
    outputs = outputs_of(output)
    batches = batches_for(data, recipe, seed, "none", given=fields)
    first = first_batch(batches, seed)
    classes = check_experts(student, teachers, class_sets, first, outputs, others=soft == "others")
    check_disjoint(class_sets, classes)
    at = [layers_of(one) for one in (student, *teachers)] if layers is None else list(layers)

    def made(shown: list[View]) -> CommonSpace:
        own, *others = (view.maps[-1].shape[1] for view in shown)
        return CommonSpace(own, others, channels or max(1, own // 4))

    def terms(space: nn.Module, ours: View, theirs: list[View]) -> dict[str, Tensor]:
        target = side_by_side([view.logits for view in theirs], class_sets, classes, soft)
        apart, restored, _ = space(ours.maps[-1], [view.maps[-1] for view in theirs])
        found = {"soft": soft_loss(ours.logits, target, soft)}
        found |= {"discrepancy": apart, "restoring": restored}
        return {name: weights[name] * value for name, value in found.items()}

    return amalgamated(
        student, teachers, at, batches, first, recipe, made=made, terms=terms, seed=seed,
        checkpoint=checkpoint, evaluate=evaluate, outputs=outputs,
        about={"verb": "learn_common_features", "soft": soft, **weights},
    )  # fmt: skip
