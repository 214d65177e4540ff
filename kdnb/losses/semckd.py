"""SemCKD (Chen et al. 2021): semantic calibration, which pairs layers by attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdnb.losses._arithmetic import no_autocast, unit
from kdnb.losses.adapters import bottleneck, map_shape, to_common_size
from kdnb.losses.checks import (
    Variant,
    at_least_float32,
    check_lists,
    check_maps,
    check_number,
    check_parameters,
    check_together,
    check_variant,
    fitted,
)


def semantic_calibration(
    student_maps: Sequence[Sequence[Tensor]],
    teacher_maps: Sequence[Sequence[Tensor]],
    attention: Tensor,
    variant: Variant = "paper",
) -> Tensor:
    r"""SemCKD (Chen 2021, equation 6): weight each pair of layers by attention.

    .. math:: L = \frac1B \sum_b \sum_s \sum_t a_{bst}\, \mathrm{MSE}(P_{st}(F^S_s), F^T_t)

    Args:
        student_maps: for each student layer, one projection onto every teacher layer's shape.
        teacher_maps: the same shapes; :class:`SemanticCalibration` builds both.
        attention: (batch, student layers, teacher layers), a distribution over the last axis.
        variant: "authors" also divides by the number of student layers.

    Returns:
        A scalar in squared units of the maps, 0 where every pair agrees.

    Raises:
        ValueError: for pairs of different shapes or an attention of a wrong shape.

    Departures: the number of the equation is recalled; the terms follow the authors' code.

    >>> maps = [[torch.ones(1, 2, 3, 3), torch.ones(1, 4, 2, 2)]]
    >>> targets = [[torch.zeros(1, 2, 3, 3), torch.ones(1, 4, 2, 2)]]
    >>> semantic_calibration(maps, targets, torch.tensor([[[0.25, 0.75]]]))
    tensor(0.2500)
    """
    check_variant(variant)
    check_lists(student_maps=student_maps, teacher_maps=teacher_maps)
    check_parameters(attention=attention)
    rows = []
    for student_row, teacher_row in zip(student_maps, teacher_maps, strict=True):
        check_lists(student_maps=student_row, teacher_maps=teacher_row)
        row = []
        for student, teacher in zip(student_row, teacher_row, strict=True):
            check_maps(student_maps=student, teacher_maps=teacher)
            difference = at_least_float32(student) - at_least_float32(teacher)
            row.append(difference.square().flatten(1).mean(dim=1))
        rows.append(torch.stack(row, dim=1))
    distances = torch.stack(rows, dim=1)
    if attention.shape != distances.shape:
        raise ValueError(
            f"attention must be (batch, student layers, teacher layers) {tuple(distances.shape)}; "
            f"got {tuple(attention.shape)}."
        )
    check_together(attention=attention, student_maps=distances)
    loss = (at_least_float32(attention) * distances).sum(dim=(1, 2)).mean()
    return loss / distances.shape[1] if variant == "authors" else loss


class SemanticCalibration(nn.Module):
    """SemCKD's projections and attention; its output is what :func:`semantic_calibration` takes.

    A layer is described by the batch's similarity matrix F F^T; a row of it, through a two-layer
    perceptron and normalised, is a sample's query (student) or key (teacher). The row has one entry
    for each sample, so, as in the authors' code, the module has a fixed batch size: drop incomplete
    batches. The maps of a pair are pooled to the smaller size.
    """

    def __init__(
        self,
        student_shapes: Sequence[Sequence[int]],
        teacher_shapes: Sequence[Sequence[int]],
        batch: int,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        check_lists(student_shapes=student_shapes)
        check_lists(teacher_shapes=teacher_shapes)
        check_number(least=1, whole=True, batch=batch, reduction=reduction)
        self.batch = batch
        width = max(1, batch // reduction)
        self.queries = nn.ModuleList(self._embedding(batch, width) for _ in student_shapes)
        self.keys = nn.ModuleList(self._embedding(batch, width) for _ in teacher_shapes)
        students = [map_shape(shape, "student_shapes")[0] for shape in student_shapes]
        teachers = [map_shape(shape, "teacher_shapes")[0] for shape in teacher_shapes]
        self.projections = nn.ModuleList(
            nn.ModuleList(bottleneck(channels, 2 * out, out, close=False) for out in teachers)
            for channels in students
        )

    @staticmethod
    def _embedding(batch: int, width: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(batch, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def _describe(self, maps: Sequence[Tensor], embeddings: nn.ModuleList) -> Tensor:
        rows = []
        for value, embedding in zip(maps, embeddings, strict=True):
            if value.shape[0] != self.batch:
                raise ValueError(f"built for batches of {self.batch}; got {tuple(value.shape)}.")
            flat = at_least_float32(value).flatten(1)
            rows.append(unit(embedding((flat @ flat.T).to(embedding[0].weight.dtype)), 1))
        return torch.stack(rows, dim=1)

    def forward(
        self, student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]
    ) -> tuple[list[list[Tensor]], list[list[Tensor]], Tensor]:
        """Projected student maps and teacher maps for every pair, and the attention."""
        check_lists(count=len(self.queries), student_maps=student_maps)
        check_lists(count=len(self.keys), teacher_maps=teacher_maps)
        for maps in (*student_maps, *teacher_maps):
            check_maps("B", student_maps=student_maps[0], teacher_maps=maps)
        with no_autocast(student_maps[0]):
            queries = self._describe(student_maps, self.queries)
            keys = self._describe(teacher_maps, self.keys)
            attention = torch.softmax(queries @ keys.mT, dim=2)
        projected, targets = [], []
        for student, row in zip(student_maps, self.projections, strict=True):
            pairs = [to_common_size(student, teacher) for teacher in teacher_maps]
            sources = [pair[0] for pair in pairs]
            projected.append(
                [
                    layer(fitted(layer, "student_maps", x))
                    for layer, x in zip(row, sources, strict=True)
                ]
            )
            targets.append([pair[1] for pair in pairs])
        return projected, targets, attention
