"""How a loss is joined to two networks: on logits, embeddings or maps, with adapters or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.adapters import PointwiseAdapter
from kdnb.training.layers import View

Place = Literal["maps", "before"]
Which = Literal["all", "middle", "last"]


@dataclass(frozen=True)
class Setting:
    """What a method may have to know besides the two networks.

    Attributes:
        images: how many the training set has.
        batch_size: of the training.
    """

    images: int
    batch_size: int


Build = Callable[[View, View, Setting], nn.Module]


class Plain(nn.Module):
    """A loss without anything to learn."""

    def __init__(self, function: Callable[[View, View, Batch], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        return self.function(student, teacher, batch)


class Adapted(nn.Module):
    """A loss on layers that 1x1 convolutions bring to the teacher's width, and pooling to one size.

    On all layers, on the middle one alone (as FitNets has it), or on the last.
    """

    def __init__(
        self,
        student: View,
        teacher: View,
        function: Callable[[list[Tensor], list[Tensor]], Tensor],
        place: Place,
        which: Which,
        normalise: bool,
    ) -> None:
        super().__init__()
        self.function, self.place, self.which = function, place, which
        self.adapters = nn.ModuleList(
            PointwiseAdapter(s.shape, t.shape, normalise) for s, t in self._pairs(student, teacher)
        )

    def _pairs(self, student: View, teacher: View) -> list[tuple[Tensor, Tensor]]:
        pairs = pairs_of(student, teacher, self.place)
        return {"all": pairs, "middle": [pairs[len(pairs) // 2]], "last": pairs[-1:]}[self.which]

    def forward(self, student: View, teacher: View, batch: Batch) -> Tensor:
        adapted = [
            adapter(s, t)
            for adapter, (s, t) in zip(self.adapters, self._pairs(student, teacher), strict=True)
        ]
        return self.function([pair[0] for pair in adapted], [pair[1] for pair in adapted])


def pairs_of(student: View, teacher: View, place: Place = "maps") -> list[tuple[Tensor, Tensor]]:
    ours, theirs = getattr(student, place), getattr(teacher, place)
    if len(ours) != len(theirs):
        raise ValueError(
            f"layers are matched one to one; got {len(ours)} of the student and {len(theirs)} of "
            "the teacher: name as many of both (kdnb.training.layers.Layers)."
        )
    return list(zip(ours, theirs, strict=True))


def on_logits(loss: Callable[..., Tensor], labels: bool = False, **fixed: Any) -> Build:
    def term(student: View, teacher: View, batch: Batch) -> Tensor:
        more = (batch.labels,) if labels else ()
        return loss(student.logits, teacher.logits, *more, **fixed)

    return lambda student, teacher, setting: Plain(term)


def on_embedding(loss: Callable[..., Tensor], **fixed: Any) -> Build:
    def term(student: View, teacher: View, batch: Batch) -> Tensor:
        return loss(student.embedding, teacher.embedding, **fixed)

    return lambda student, teacher, setting: Plain(term)


def on_each_layer(loss: Callable[..., Tensor], **fixed: Any) -> Build:
    def term(student: View, teacher: View, batch: Batch) -> Tensor:
        return torch.stack([loss(s, t, **fixed) for s, t in pairs_of(student, teacher)]).sum()

    return lambda student, teacher, setting: Plain(term)


def on_last_layer(loss: Callable[..., Tensor], **fixed: Any) -> Build:
    def term(student: View, teacher: View, batch: Batch) -> Tensor:
        return loss(student.maps[-1], teacher.maps[-1], **fixed)

    return lambda student, teacher, setting: Plain(term)


def adapted(
    function: Callable[[list[Tensor], list[Tensor]], Tensor],
    place: Place = "maps",
    which: Which = "all",
    normalise: bool = False,
) -> Build:
    return lambda student, teacher, setting: Adapted(
        student, teacher, function, place, which, normalise
    )


def summed(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda student, teacher: torch.stack(
        [loss(s, t) for s, t in zip(student, teacher, strict=True)]
    ).sum()


def by_depth(terms: Sequence[Tensor]) -> Tensor:
    weights = losses.depth_weights(len(terms))
    return torch.stack([w * term for w, term in zip(weights, terms, strict=True)]).sum()
