"""Attention between layers and over channels: Ji 2021, channel distillation (Zhou 2020).

Each is a `Method`: `kdnb.distil(student, teacher, data, method=FEATURE_MATCHING)`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.adapters import PointwiseAdapter
from kdnb.methods.catalogue import Method
from kdnb.methods.wiring import Setting, Term, learnt, on_logits, pairs_of
from kdnb.training.layers import View


class FeatureMatching(Term):
    """Every teacher layer is compared with all student layers, by a learnt attention (Ji 2021).

    `attention` keeps the mean attention of the last batch, (teacher layers, student layers).
    """

    def __init__(self, student: View, teacher: View, setting: Setting, width: int = 128) -> None:
        super().__init__()
        ours, theirs = ([m.shape for m in view.maps] for view in (student, teacher))
        self.layers = losses.LayerAttention(ours, theirs, width)
        self.attention: Tensor | None = None

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        attention = self.layers(student.maps, teacher.maps)
        self.attention = attention.detach().mean(0)
        return losses.attended_matching(student.maps, teacher.maps, attention)


class ChannelAttention(Term):
    """The mean of every channel in every layer (Zhou 2020), 1x1 convolutions if widths differ."""

    def __init__(self, student: View, teacher: View, setting: Setting) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(
            PointwiseAdapter(s.shape, t.shape, True) if s.shape[1] != t.shape[1] else nn.Identity()
            for s, t in pairs_of(student, teacher)
        )

    def value(self, student: View, teacher: View, batch: Batch) -> Tensor:
        terms = []
        for adapter, (s, t) in zip(self.adapters, pairs_of(student, teacher), strict=True):
            adapted = s if isinstance(adapter, nn.Identity) else adapter(s, t)[0]
            terms.append(losses.channel_distillation(adapted, t))
        return torch.stack(terms).sum()


FEATURE_MATCHING = Method(
    "5.5", "ji2021afd", "AFD (Ji 2021)",
    learnt(losses.attended_matching, FeatureMatching, least=2), 200.0,
)  # fmt: skip
CHANNELS = Method(
    "5.5", "zhou2020cd", "CD", learnt(losses.channel_distillation, ChannelAttention, least=2)
)
GUIDED = Method(
    "5.5", "zhou2020cd", "Guided KD",
    on_logits(losses.guided_targets, True, temperature=4.0), 1.0,
)  # fmt: skip
