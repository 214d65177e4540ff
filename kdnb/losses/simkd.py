"""SimKD (Chen et al. 2022): student features for the teacher's own classifier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses._arithmetic import mean_squares, summed_squares
from kdnb.losses.adapters import bottleneck, map_shape, to_common_size
from kdnb.losses.checks import Variant, check_maps, check_number, check_variant, fitted


def reused_classifier(
    projected: Tensor, teacher_maps: Tensor, variant: Variant = "paper"
) -> Tensor:
    r"""SimKD's only loss (Chen 2022, equation 3): (1/B) sum |f_t - P(f_s)|^2.

    The maps are those before the teacher's classifier, which the student then reuses. There is no
    cross-entropy and no soft targets.

    Args:
        projected: (batch, channels, height, width) from :class:`ReusedClassifierProjector`.
        teacher_maps: the same shape.
        variant: "authors" averages over all elements instead (their `MSELoss`).

    Returns:
        A scalar in squared units of the maps, 0 where they agree.

    Raises:
        ValueError: for wrong or mismatched shapes.

    Departures: the paper writes the norm for one sample; the batch mean is added here. The
    mean over elements is that of the authors' training script (DefangChen/SimKD).

    >>> reused_classifier(torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1))
    tensor(3.)
    """
    check_variant(variant)
    check_maps(projected=projected, teacher_maps=teacher_maps)
    distance = mean_squares if variant == "authors" else summed_squares
    return distance(projected, teacher_maps)


class ReusedClassifierProjector(nn.Module):
    """SimKD's projector (Chen 2022): 1x1, 3x3, 1x1 convolutions, each with batch norm and ReLU.

    The inner width is the teacher's divided by `reduction` (f in the paper, 2 in its tables).
    """

    def __init__(
        self, student_shape: Sequence[int], teacher_shape: Sequence[int], reduction: int = 2
    ) -> None:
        super().__init__()
        channels, *size = map_shape(student_shape, "student_shape")
        out, *goal = map_shape(teacher_shape, "teacher_shape")
        check_number(least=1, whole=True, reduction=reduction)
        self.shares = [min(1.0, theirs / ours) for ours, theirs in zip(size, goal, strict=True)]
        self.layers = bottleneck(channels, max(1, out // reduction), out, close=True)

    def forward(self, student_maps: Tensor, teacher_maps: Tensor) -> tuple[Tensor, Tensor]:
        """The projected student and the teacher, at one size; pool them for the classifier."""
        check_maps("B", student_maps=student_maps, teacher_maps=teacher_maps)
        student, teacher = to_common_size(student_maps, teacher_maps)
        return self.layers(fitted(self.layers, "student_maps", student)), teacher

    def project(self, student_maps: Tensor) -> Tensor:
        """The projected student without teacher maps, pooled as it would be with them."""
        check_maps(student_maps=student_maps)
        sides = zip(student_maps.shape[2:], self.shares, strict=True)
        size = tuple(max(1, round(side * share)) for side, share in sides)
        if student_maps.shape[2:] != size:
            student_maps = F.adaptive_avg_pool2d(student_maps, size)
        return self.layers(fitted(self.layers, "student_maps", student_maps))
