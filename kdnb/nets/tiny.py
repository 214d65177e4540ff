"""The tiny convolutional network that Passalis and Tefas train to retrieve images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from kdnb.nets._shared import at_least


class TinyConvNet(nn.Module):
    """Three 3x3 convolutions of 8, 16 and 32 channels, a hidden layer of 64 units, the classifier.

    Batch normalisation, ReLU and 2x2 max-pooling follow each convolution, without padding. With
    CIFAR-10's images: 15,050 parameters (Passalis and Tefas 2018, section 4; sizes from their
    public code). `stage1` to `stage3` are the pooled maps, `embedding` the 64 hidden units.

    Args:
        num_classes, in_channels, image_size: of the data; at least 22x22 pixels.

    Raises:
        ValueError: for images that are too small.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
    ) -> None:
        super().__init__()
        at_least("tiny", image_size, 22)
        sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.stage1 = _stage(in_channels, 8)
        self.stage2 = _stage(8, 16)
        self.stage3 = _stage(16, 32)
        height, width = (_pooled(_pooled(_pooled(side))) for side in sides)
        self.pool = nn.Flatten()
        self.embedding = nn.Sequential(
            OrderedDict(linear=nn.Linear(32 * height * width, 64), relu=nn.ReLU())
        )
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        maps = self.stage3(self.stage2(self.stage1(images)))
        return self.head(self.embedding(self.pool(maps)))


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 3),
            bn=nn.BatchNorm2d(outputs),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(2),
        )
    )


def _pooled(side: int) -> int:
    return (side - 2) // 2
