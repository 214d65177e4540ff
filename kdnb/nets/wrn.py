"""Wide residual networks WRN-d-k (Zagoruyko and Komodakis 2016, 1605.07146)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from kdnb.names import brief
from kdnb.nets._shared import at_least, check_counts, global_pool, initialise


class WideResNet(nn.Module):
    """WRN-d-k: pre-activation residual blocks with 16k, 32k and 64k channels, without dropout.

    A 3x3 convolution with 16 channels, three stages of (d - 4) / 6 blocks B(3, 3), the second and
    the third of which halve height and width, then batch normalisation, ReLU and a mean. A stage's
    output is a plain sum: the ReLU that follows belongs to the next stage.

    Args:
        num_classes, in_channels, image_size: of the data; at least 4x4 pixels.
        depth: d = 6n + 4.
        width: k.

    Raises:
        ValueError: for another depth, a width below 1, or images that are too small.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        depth: int = 16,
        width: int = 1,
    ) -> None:
        super().__init__()
        check_counts(width=width)
        at_least(f"wrn-{depth}-{width}", image_size, 4)
        if not 10 <= depth <= 1000 or (depth - 4) % 6:
            raise ValueError(
                "a WRN has 6n + 4 layers (10, 16, 22, 28, 40, ..., at most 1,000); "
                f"got {brief(depth)}."
            )
        blocks = (depth - 4) // 6
        self.stem = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.stage1 = _stage(16, 16 * width, blocks, 1)
        self.stage2 = _stage(16 * width, 32 * width, blocks, 2)
        self.stage3 = _stage(32 * width, 64 * width, blocks, 2)
        self.final = nn.Sequential(
            OrderedDict(bn=nn.BatchNorm2d(64 * width), relu=nn.ReLU(), pool=global_pool())
        )
        self.head = nn.Linear(64 * width, num_classes)
        initialise(self)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        maps = self.stage3(self.stage2(self.stage1(self.stem(images))))
        return self.head(self.final(maps))


class Block(nn.Module):
    """x + conv(relu(bn(conv(relu(bn(x)))))).

    If the shape changes, a strided 1x1 convolution of relu(bn(x)) replaces x.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        active = self.relu1(self.bn1(maps))
        residual = self.conv2(self.relu2(self.bn2(self.conv1(active))))
        return residual + (maps if self.shortcut is None else self.shortcut(active))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))
