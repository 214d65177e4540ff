"""FFL (Kim et al. 2019): fuse the students' last maps into a teacher; both teach each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.methods.online.branches import Branches, fit_branches
from kdnb.methods.online.common import Ramp
from kdnb.training import Recipe


class FeatureFusion(nn.Module):
    """FFL's fusion module: concatenate, 3x3 depthwise and 1x1 convolutions, mean, classifier.

    Batch normalisation and ReLU follow each convolution (as in the authors' code).

    Args:
        channels: number of channels of each student's maps.
        classes: number of classes of the fused classifier.
        hidden: channels after the 1x1 convolution; the first student's by default.
    """

    def __init__(self, channels: Sequence[int], classes: int, hidden: int | None = None):
        super().__init__()
        total, hidden = sum(channels), hidden or channels[0]
        self.layers = nn.Sequential(
            nn.Conv2d(total, total, 3, padding=1, groups=total, bias=False),
            nn.BatchNorm2d(total),
            nn.ReLU(),
            nn.Conv2d(total, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
        )
        self.head = nn.Linear(hidden, classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (batch, classes) of maps (batch, channels, height, width), one a student."""
        return self.head(self.layers(together(maps)).mean((2, 3)))


class ConcatenatedTeacher(nn.Module):
    """The teacher of Xie et al. 2019: concatenate, batch normalisation, ReLU, mean, classifier.

    Args:
        channels: number of channels of each student's maps.
        classes: number of classes of the teacher.
    """

    def __init__(self, channels: Sequence[int], classes: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(sum(channels))
        self.head = nn.Linear(sum(channels), classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (batch, classes) of maps (batch, channels, height, width), one a student."""
        return self.head(self.bn(together(maps)).relu().mean((2, 3)))


def together(maps: Sequence[Tensor]) -> Tensor:
    """The concatenated students' maps, average-pooled to the smallest height and width."""
    if any(value.ndim != 4 for value in maps):
        raise ValueError(f"maps are 4-dimensional; got {[tuple(value.shape) for value in maps]}.")
    size = tuple(min(value.shape[axis] for value in maps) for axis in (2, 3))
    return torch.cat([F.adaptive_avg_pool2d(value, size) for value in maps], 1)


def feature_fusion(
    branches: Branches,
    fusion: FeatureFusion,
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 1.0,
    temperature: float = 3.0,
    ramp_up: int = 0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Feature fusion learning, FFL (Kim et al. 2019, equation 7).

    .. math:: L = \sum_k H(y, p_k) + H(y, p_f) + w\, T^2 \Big( KL(\tilde p_e \| \tilde p_f)
        + \sum_k KL(\tilde p_f \| \tilde p_k) \Big), \quad z_e = \frac1n \sum_k z_k

    The students' ensemble e teaches the fused classifier f, which teaches each student; targets
    carry no gradient (the authors' code).

    Args:
        branches: the students, with a common stem or without (split at the first child);
            trained in place, as is `fusion`. `branches.deployed(i)` is one of them.
        weight, ramp_up: w and the epochs of its ramp (80 of 300 in the authors' code).
        temperature: T, 3 in the paper.
        options: passed to `training.fit`.

    Returns:
        The history: `students` and `fused` (cross-entropies), `to_fused` and `to_students`.

    Departures: maps of different sizes are average-pooled to the smallest. The authors give the
    fusion module its own weight decay, 1e-5; here the recipe applies to all.
    """
    ramp = Ramp(weight, ramp_up)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        said = networks["branches"](batch.images)
        fused = networks["fusion"](said.maps)
        students = said.logits.unbind(1)
        ensemble = said.logits.mean(1).detach()
        back = [soft_targets(z, fused.detach(), temperature) for z in students]
        return {
            "students": sum(hard_loss(z, batch.labels) for z in students),
            "fused": hard_loss(fused, batch.labels),
            "to_fused": ramp.now * soft_targets(fused, ensemble, temperature),
            "to_students": ramp.now * sum(back),
        }

    networks = {"branches": branches, "fusion": fusion}
    return fit_branches(networks, examples, recipe, terms, seed=seed, begin=ramp.begin, **options)
