"""Adapters between a student's and a teacher's feature maps, built from the two shapes.

A shape is (batch, channels, height, width) or (channels, height, width); the batch is not used. Add
the parameters of an adapter to the student's optimiser.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses.checks import check_lists, check_maps, fitted


def map_shape(shape: Sequence[int], name: str) -> tuple[int, int, int]:
    """The (channels, height, width) of a shape with or without its batch.

    >>> map_shape((8, 16, 7, 5), "student_shape")
    (16, 7, 5)
    """
    check_lists(**{name: shape})
    if len(shape) not in (3, 4) or any(size < 1 for size in shape):
        raise ValueError(
            f"{name} must be (batch, channels, height, width) or (channels, height, width), all at "
            f"least 1; got {tuple(shape)}."
        )
    channels, height, width = shape[-3:]
    return channels, height, width


def to_common_size(student_maps: Tensor, teacher_maps: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool both maps to the smaller height and width; equal sizes are left unchanged.

    Args:
        student_maps, teacher_maps: (batch, channels, height, width); channels may differ.

    Returns:
        Both maps at one height and width.

    Raises:
        ValueError: for wrong shapes or batch sizes.

    Departures: released code compares only heights and pools to a square. Here each axis is pooled
    to its own smaller size; on square maps both agree.

    >>> a, b = to_common_size(torch.zeros(2, 3, 8, 4), torch.zeros(2, 5, 4, 6))
    >>> a.shape[2:], b.shape[2:]
    (torch.Size([4, 4]), torch.Size([4, 4]))
    """
    check_maps("B", student_maps=student_maps, teacher_maps=teacher_maps)
    sizes = zip(student_maps.shape[2:], teacher_maps.shape[2:], strict=True)
    size = tuple(min(pair) for pair in sizes)
    pooled = (
        maps if maps.shape[2:] == size else F.adaptive_avg_pool2d(maps, size)
        for maps in (student_maps, teacher_maps)
    )
    student, teacher = pooled
    return student, teacher


class ConvolutionalRegressor(nn.Module):
    """FitNets' regressor: a convolution without padding whose output has the teacher's size.

    The kernel is (student height - teacher height + 1, student width - teacher width + 1) (Romero
    2015, section 2.2), which needs far fewer parameters than a fully connected regressor. It is 1x1
    when the sizes agree. The paper gives the regressor the non-linearity of the teacher's layer:
    pass it as `activation` (none by default).

    Raises:
        ValueError: if the teacher's map is larger than the student's, which the authors' code
            rejects too; use :class:`PointwiseAdapter` instead.
    """

    def __init__(
        self,
        student_shape: Sequence[int],
        teacher_shape: Sequence[int],
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = map_shape(student_shape, "student_shape")
        out, out_height, out_width = map_shape(teacher_shape, "teacher_shape")
        if out_height > height or out_width > width:
            raise ValueError(
                "the convolutional regressor cannot enlarge a map; got student_shape "
                f"{tuple(student_shape)} and teacher_shape {tuple(teacher_shape)}."
            )
        kernel = (height - out_height + 1, width - out_width + 1)
        self.convolution = nn.Conv2d(channels, out, kernel)
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, student_maps: Tensor) -> Tensor:
        """Maps of the teacher's shape."""
        check_maps(student_maps=student_maps)
        student_maps = fitted(self.convolution, "student_maps", student_maps)
        return self.activation(self.convolution(student_maps))


class PointwiseAdapter(nn.Module):
    """A 1x1 convolution from the student's width to the teacher's, after pooling to a common size.

    Most code calls this FitNet. With `normalise=True` (no bias, batch normalisation) it is the
    connector of the authors' AB and OFD code. The teacher's maps are only pooled.
    """

    def __init__(
        self,
        student_shape: Sequence[int],
        teacher_shape: Sequence[int],
        normalise: bool = False,
    ) -> None:
        super().__init__()
        channels, *_ = map_shape(student_shape, "student_shape")
        out, *_ = map_shape(teacher_shape, "teacher_shape")
        convolution = nn.Conv2d(channels, out, 1, bias=not normalise)
        if normalise:
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
        self.projection = nn.Sequential(
            convolution, nn.BatchNorm2d(out) if normalise else nn.Identity()
        )

    def forward(self, student_maps: Tensor, teacher_maps: Tensor) -> tuple[Tensor, Tensor]:
        """The projected student and the teacher, at one size."""
        student, teacher = to_common_size(student_maps, teacher_maps)
        return self.projection(fitted(self.projection, "student_maps", student)), teacher


def bottleneck(channels: int, hidden: int, out: int, close: bool) -> nn.Sequential:
    """1x1, 3x3, 1x1 convolutions with batch normalisation and ReLU between (SemCKD, SimKD).

    `close` adds both after the last convolution too, as SimKD does for teacher maps after a ReLU.
    """
    layers: list[nn.Module] = []
    for width_in, width_out, kernel in ((channels, hidden, 1), (hidden, hidden, 3)):
        layers += [
            nn.Conv2d(width_in, width_out, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width_out),
            nn.ReLU(),
        ]
    layers.append(nn.Conv2d(hidden, out, 1, bias=False))
    if close:
        layers += [nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers)
