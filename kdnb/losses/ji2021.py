"""Show, attend and distill (Ji, Heo and Park 2021): attention chooses the layers to compare.

The authors call it AFD, a name already used for another method: see `kdnb.methods.online.afd`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses._arithmetic import no_autocast, unit
from kdnb.losses.adapters import map_shape
from kdnb.losses.checks import (
    at_least_float32,
    check_lists,
    check_maps,
    check_number,
    check_parameters,
    check_together,
    fitted,
)


def attended_matching(
    student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], attention: Tensor
) -> Tensor:
    r"""Attention-based feature matching (Ji 2021): weight each pair of layers by attention.

    .. math:: L = \frac1B \sum_b \sum_t \sum_s \alpha_{bts}\,
        \frac{1}{h_t w_t} \Big\lVert \frac{Q(h^T_t)}{\lVert Q(h^T_t)\rVert_2}
        - \frac{Q(\hat h^S_s)}{\lVert Q(\hat h^S_s) \rVert_2} \Big\rVert_2^2, \quad
        Q(h) = \frac1c \sum_c h_c^2

    where the student's map of squares is resized to the teacher's height and width by average
    pooling.

    Args:
        student_maps, teacher_maps: lists of (batch, channels, height, width), of any sizes.
        attention: (batch, teacher layers, student layers), a distribution over the last axis, such
            as :class:`LayerAttention` makes.

    Returns:
        A scalar without unit. The authors' weight is 200.

    Raises:
        ValueError: for wrong shapes.

    Departures: none; follows the authors' code. As a mean over positions, its value depends on
    height times width, like the "authors" form of attention transfer.

    >>> maps = [torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])]
    >>> attended_matching(maps, maps[:1], torch.tensor([[[0.75, 0.25]]]))
    tensor(0.2500)
    """
    check_lists(student_maps=student_maps)
    check_lists(teacher_maps=teacher_maps)
    named = {f"student_maps[{n}]": one for n, one in enumerate(student_maps)}
    named |= {f"teacher_maps[{n}]": one for n, one in enumerate(teacher_maps)}
    check_maps("B", **named)
    check_parameters(attention=attention)
    shape = len(student_maps[0]), len(teacher_maps), len(student_maps)
    if attention.shape != shape:
        raise ValueError(
            f"attention must be (batch, teacher layers, student layers) {shape}; got "
            f"{tuple(attention.shape)}."
        )
    check_together(attention=attention, **named)
    wide = at_least_float32(attention)
    ours = [_squares(one) for one in student_maps]
    total = wide.new_zeros(())
    for place, teacher in enumerate(teacher_maps):
        theirs = unit(_squares(teacher).flatten(1), 1)
        for source, student in enumerate(ours):
            resized = student[:, None]
            if resized.shape[2:] != teacher.shape[2:]:
                resized = F.adaptive_avg_pool2d(resized, tuple(teacher.shape[2:]))
            apart = (unit(resized.flatten(1), 1) - theirs).square().mean(1)
            total = total + (wide[:, place, source] * apart).mean()
    return total


def _squares(maps: Tensor) -> Tensor:
    """(batch, height, width): the mean square over channels of maps scaled to length 1.

    The scale does not matter, since the result is normalised; it keeps squares from overflowing.
    """
    return unit(maps, (1, 2, 3)).square().mean(1)


class LayerAttention(nn.Module):
    r"""Attention of each teacher layer over the student layers, for every sample (Ji 2021).

    .. math:: \alpha_{t,\cdot} = \mathrm{softmax}_s\Big(
        \frac{q_t^\top B_t k_s + p_t^\top p_s}{\sqrt d}\Big)

    with queries :math:`q_t` of the teacher's pooled maps, keys :math:`k_s` of the student's after a
    ReLU, one bilinear weight for each teacher layer, and learnt positions p, all with batch
    normalisation. In training mode the result therefore depends on the batch, which needs at least
    two samples.

    Args:
        student_shapes, teacher_shapes: (batch, channels, height, width), or without the batch.
        width: d, 128 in the paper.

    Departures: none; follows the authors' code.
    """

    def __init__(
        self,
        student_shapes: Sequence[Sequence[int]],
        teacher_shapes: Sequence[Sequence[int]],
        width: int = 128,
    ) -> None:
        super().__init__()
        check_lists(student_shapes=student_shapes)
        check_lists(teacher_shapes=teacher_shapes)
        check_number(least=1, whole=True, width=width)
        self.width = width
        students = [map_shape(shape, "student_shapes")[0] for shape in student_shapes]
        teachers = [map_shape(shape, "teacher_shapes")[0] for shape in teacher_shapes]
        self.queries = nn.ModuleList(_normalised(channels, width) for channels in teachers)
        self.keys = nn.ModuleList(_normalised(channels, width) for channels in students)
        self.bilinear = _normalised(width, width * len(teachers))
        self.teacher_places = nn.Parameter(torch.empty(len(teachers), width))
        self.student_places = nn.Parameter(torch.empty(len(students), width))
        nn.init.xavier_normal_(self.teacher_places)
        nn.init.xavier_normal_(self.student_places)

    def forward(self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
        """(batch, teacher layers, student layers), rows of sum 1."""
        check_lists(count=len(self.keys), student_maps=student_maps)
        check_lists(count=len(self.queries), teacher_maps=teacher_maps)
        for maps in (*student_maps, *teacher_maps):
            check_maps("B", student_maps=student_maps[0], teacher_maps=maps)
        batch = len(student_maps[0])
        with no_autocast(student_maps[0]):
            keys = torch.stack(self._pooled(student_maps, self.keys, "student_maps"), 1).relu()
            queries = torch.stack(self._pooled(teacher_maps, self.queries, "teacher_maps"), 1)
            weighed = self.bilinear(keys.flatten(0, 1))
            weighed = weighed.view(batch, len(self.keys), len(self.queries), self.width)
            scores = torch.einsum("bstd,btd->bts", weighed, queries)
            scores = scores + self.teacher_places @ self.student_places.T
            return (scores / self.width**0.5).softmax(2)

    @staticmethod
    def _pooled(maps: Sequence[Tensor], layers: nn.ModuleList, name: str) -> list[Tensor]:
        pairs = zip(maps, layers, strict=True)
        return [layer(fitted(layer, name, one).mean((2, 3))) for one, layer in pairs]


def _normalised(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs))
