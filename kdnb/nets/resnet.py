"""Residual networks for small images (He et al. 2016, section 4.2) and their widened variants."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.nets._shared import at_least, global_pool, initialise, scaled

# depth and the widths of the stem and the three stages
DEPTHS = (8, 14, 20, 26, 32, 44, 56, 110)
NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)
# blocks in each of the four stages
FOUR_STAGES = {"resnet18_cifar": (2, 2, 2, 2), "resnet34_cifar": (3, 4, 6, 3)}


class ResNet(nn.Module):
    """ResNet-d for 32x32 images: a 3x3 convolution, three stages of (d - 2) / 6 blocks, a mean.

    The maps have `widths[1:]` channels; the second and the third stage halve height and
    width. `stageS.B.preactivation` is a block's sum before its last ReLU, for methods that
    compare maps there.

    Args:
        num_classes, in_channels, image_size: of the data; at least 4x4 pixels.
        depth: 6n + 2.
        widths: of the stem and of the three stages. He et al. use 16-16-32-64; the nets called
            resnet8x4 and resnet32x4 in the distillation literature (the benchmark code of Tian et
            al. 2020, CRD) use 32-64-128-256, whose stem is twice and whose stages are four times
            as wide.
        shortcut: where a block changes the shape, "B" is a strided 1x1 convolution with batch
            normalisation, as in the CRD family and hence in nearly every published distillation
            result on CIFAR; "A" takes every second pixel and pads with zero channels, as He et
            al. do on CIFAR. Blocks that keep the shape add their input unchanged.
        width: factor on all widths, for thinner or wider nets.

    Raises:
        ValueError: for another depth, an unknown shortcut, images that are too small, or a width
            that leaves a stage no channel.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        depth: int = 20,
        widths: Sequence[int] = NARROW,
        shortcut: str = "B",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        at_least(f"resnet{depth}", image_size, 4)
        if shortcut not in ("A", "B"):
            raise ValueError(f"shortcut must be 'A' or 'B'; got {shortcut!r}.")
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"a CIFAR ResNet has 6n + 2 layers (8, 14, 20, ...); got {depth}.")
        blocks = (depth - 2) // 6
        stem, first, second, third = scaled(widths, width)
        self.stem = _stem(in_channels, stem)
        self.stage1 = _stage(stem, first, blocks, 1, shortcut)
        self.stage2 = _stage(first, second, blocks, 2, shortcut)
        self.stage3 = _stage(second, third, blocks, 2, shortcut)
        self.pool = global_pool()
        self.head = nn.Linear(third, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        maps = self.stage3(self.stage2(self.stage1(self.stem(images))))
        return self.head(self.pool(maps))


class FourStageResNet(nn.Module):
    """ResNet-18 or ResNet-34 for small images, as used in the data-free papers.

    He et al.'s networks for ImageNet (2016, table 1) with 64-128-256-512 channels, but a 3x3
    convolution of stride 1 for the stem and no pooling after it. (The channels are the paper's;
    the rest is common practice on CIFAR, not in the paper.) All but the first stage halve height and width.

    Args:
        num_classes, in_channels, image_size: of the data; at least 8x8 pixels.
        blocks: of each of the four stages.
        width: factor on all widths.

    Raises:
        ValueError: for images that are too small, or a width that leaves a stage no channel.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        blocks: Sequence[int] = FOUR_STAGES["resnet18_cifar"],
        width: float = 1.0,
    ) -> None:
        super().__init__()
        at_least("a ResNet of four stages", image_size, 8)
        widths = scaled((64, 64, 128, 256, 512), width)
        self.stem = _stem(in_channels, widths[0])
        self.stage1 = _stage(widths[0], widths[1], blocks[0], 1, "B")
        self.stage2 = _stage(widths[1], widths[2], blocks[1], 2, "B")
        self.stage3 = _stage(widths[2], widths[3], blocks[2], 2, "B")
        self.stage4 = _stage(widths[3], widths[4], blocks[3], 2, "B")
        self.pool = global_pool()
        self.head = nn.Linear(widths[4], num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        maps = self.stage2(self.stage1(self.stem(images)))
        return self.head(self.pool(self.stage4(self.stage3(maps))))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, shortcut)
        self.preactivation = nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(maps)))))
        return self.relu2(self.preactivation(residual + self.shortcut(maps)))


class PaddedShortcut(nn.Module):
    """Option A: every second pixel if the stride is 2, and zeros for the added channels."""

    def __init__(self, added: int, stride: int) -> None:
        super().__init__()
        self.added, self.stride = added, stride

    def forward(self, maps: Tensor) -> Tensor:
        kept = maps[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))


def _shortcut(inputs: int, outputs: int, stride: int, option: str) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if option == "A":
        return PaddedShortcut(outputs - inputs, stride)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 1, stride, bias=False), bn=nn.BatchNorm2d(outputs)
        )
    )


def _stem(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            bn=nn.BatchNorm2d(outputs),
            relu=nn.ReLU(),
        )
    )


def _stage(inputs: int, outputs: int, blocks: int, stride: int, shortcut: str) -> nn.Sequential:
    first = Block(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(Block(outputs, outputs, 1, shortcut) for _ in range(blocks - 1)))
