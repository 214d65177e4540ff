"""VGG-8 and VGG-13 with batch normalisation, for small images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from kdnb.nets._shared import at_least, global_pool, height_width, initialise, scaled

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {"vgg8": 1, "vgg13": 2}  # in each of the five stages


class VGG(nn.Module):
    """VGG-13 (configuration B of Simonyan and Zisserman 2015) without its hidden linear layers.

    Five stages of 3x3 convolutions with batch normalisation and ReLU, 64-128-256-512-512 channels,
    then a mean and one linear layer: the form of the benchmark code of Tian et al. 2020 (CRD).
    VGG-8 has one convolution per stage, VGG-13 two. Max-pooling follows the first
    three stages, so that a 32x32 image reaches the last two stages as 4x4; images of at least
    64x64 are pooled after the fourth too. `stageS.pool` is a separate module: `stageS.relu1` or
    `stageS.relu2` gives the maps before it.

    Args:
        num_classes, in_channels, image_size: of the data; at least 8x8 pixels.
        convolutions: in each stage.
        width: factor on the channels of every stage; 0.125 gives 8-16-32-64-64.

    Raises:
        ValueError: for images that are too small, or a width that leaves a stage no channel.

    Linear weights are initialised from N(0, 0.01²).
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        convolutions: int = 2,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        at_least("a VGG", image_size, 8)
        pooled = 4 if min(height_width(image_size)) >= 64 else 3
        sizes = (in_channels, *scaled(WIDTHS, width))
        self.stage1, self.stage2, self.stage3, self.stage4, self.stage5 = (
            _stage(sizes[i], sizes[i + 1], convolutions, pool=i < pooled) for i in range(5)
        )
        self.pool = global_pool()
        self.head = nn.Linear(sizes[-1], num_classes)
        initialise(self)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        maps = self.stage3(self.stage2(self.stage1(images)))
        return self.head(self.pool(self.stage5(self.stage4(maps))))


def _stage(inputs: int, outputs: int, convolutions: int, *, pool: bool) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(1, convolutions + 1):
        layers[f"conv{i}"] = nn.Conv2d(inputs if i == 1 else outputs, outputs, 3, padding=1)
        layers[f"bn{i}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{i}"] = nn.ReLU()
    if pool:
        layers["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(layers)
