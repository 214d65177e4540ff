"""ReviewKD (Chen et al. 2021): fuse deep student layers into shallow ones, then compare."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses._arithmetic import mean_squares
from kdnb.losses.adapters import map_shape
from kdnb.losses.checks import (
    at_least_float32,
    check_flags,
    check_lists,
    check_maps,
    check_number,
    fitted,
)


def hierarchical_context(
    student_maps: Tensor, teacher_maps: Tensor, levels: Sequence[int] = (4, 2, 1)
) -> Tensor:
    r"""The hierarchical context loss of ReviewKD (Chen 2021, section 3.3) for one pair of layers.

    .. math:: L = \frac{\sum_{l=0}^{n} 2^{-l}\, \mathrm{MSE}(\phi_l(S), \phi_l(T))}
        {\sum_{l=0}^{n} 2^{-l}}

    where phi_0 is the map itself and phi_l average pooling to the l-th kept level. The method sums
    it over the layers (the last being the pooled features), and warms its weight up over 20 of 240
    epochs.

    Args:
        student_maps: (batch, channels, height, width) from :class:`ReviewFusion`.
        teacher_maps: the same shape.
        levels: sides of the pooled maps; a level that would not shrink the map is skipped and gets
            no weight.

    Returns:
        A scalar in squared units of the maps, 0 where they agree.

    Raises:
        ValueError: for wrong or mismatched shapes, or a level below 1.

    Departures: follows the authors' code, which decides by the height alone. Here a level is kept
    if it shrinks either axis, and never enlarges one; on square maps both agree.

    >>> hierarchical_context(torch.ones(1, 2, 5, 3), torch.zeros(1, 2, 5, 3))
    tensor(1.)
    """
    check_maps(student_maps=student_maps, teacher_maps=teacher_maps)
    check_lists(0, levels=levels)
    check_number(least=1, whole=True, **{f"levels[{i}]": level for i, level in enumerate(levels)})
    student, teacher = at_least_float32(student_maps), at_least_float32(teacher_maps)
    height, width = student.shape[2:]
    loss, weight, total = mean_squares(student, teacher), 1.0, 1.0
    for level in levels:
        size = (min(level, height), min(level, width))
        if size == (height, width):
            continue
        weight /= 2
        total += weight
        pooled = (F.adaptive_avg_pool2d(maps, size) for maps in (student, teacher))
        loss = loss + weight * mean_squares(*pooled)
    return loss / total


class AttentionFusion(nn.Module):
    """ABF, attention-based fusion: mix a layer's map and the deeper residual at each position.

    Two sigmoid maps, computed from both, give the weights; the deepest layer has nothing to mix.
    Returns the map for the loss and the residual for the next shallower layer.
    """

    def __init__(self, channels: int, middle: int, out: int, fuse: bool) -> None:
        super().__init__()
        check_number(least=1, whole=True, channels=channels, middle=middle, out=out)
        check_flags(fuse=fuse)
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, middle, 1, bias=False), nn.BatchNorm2d(middle)
        )
        self.expand = nn.Sequential(
            nn.Conv2d(middle, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)
        )
        self.attention = nn.Conv2d(2 * middle, 2, 1) if fuse else None
        for part in (self.reduce, self.expand):
            nn.init.kaiming_uniform_(part[0].weight, a=1)

    def forward(
        self, maps: Tensor, residual: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """(output of the teacher's width at `size`, residual of the middle width)."""
        check_maps("B", maps=maps, **({} if residual is None else {"residual": residual}))
        check_lists(count=2, size=size)
        check_number(least=1, whole=True, height=size[0], width=size[1])
        fused = self.reduce(fitted(self.reduce, "maps", maps))
        if self.attention is not None and residual is not None:
            residual = F.interpolate(residual, fused.shape[2:], mode="nearest").to(fused.dtype)
            shares = torch.sigmoid(self.attention(torch.cat([fused, residual], dim=1)))
            fused = fused * shares[:, :1] + residual * shares[:, 1:]
        if fused.shape[2:] != size:
            fused = F.interpolate(fused, size, mode="nearest")
        return self.expand(fused), fused


class ReviewFusion(nn.Module):
    """ReviewKD's student side, for layers ordered from shallow to deep.

    Args:
        student_shapes, teacher_shapes: one shape per layer, the same number for both; the authors
            take the stages and the pooled embedding, as a 1x1 map.
        middle: width of the residual; the smaller of 512 and the deepest student width, as in
            the authors' code.

    Raises:
        ValueError: for lists of different length, or empty lists.
    """

    def __init__(
        self,
        student_shapes: Sequence[Sequence[int]],
        teacher_shapes: Sequence[Sequence[int]],
        middle: int | None = None,
    ) -> None:
        super().__init__()
        check_lists(student_shapes=student_shapes, teacher_shapes=teacher_shapes)
        students = [map_shape(shape, "student_shapes")[0] for shape in student_shapes]
        teachers = [map_shape(shape, "teacher_shapes") for shape in teacher_shapes]
        middle = min(512, students[-1]) if middle is None else middle
        check_number(least=1, whole=True, middle=middle)
        last = len(students) - 1
        self.sizes = [shape[1:] for shape in teachers]
        self.fusions = nn.ModuleList(
            AttentionFusion(channels, middle, teacher[0], fuse=layer < last)
            for layer, (channels, teacher) in enumerate(zip(students, teachers, strict=True))
        )

    def forward(self, student_maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the teacher's shapes, from shallow to deep."""
        check_lists(count=len(self.fusions), student_maps=student_maps)
        outputs: list[Tensor] = []
        residual = None
        layers = list(zip(student_maps, self.fusions, self.sizes, strict=True))
        for maps, fusion, size in reversed(layers):
            output, residual = fusion(maps, residual, size)
            outputs.insert(0, output)
        return outputs
