"""LeNet-5 and the two different networks published as half of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.nets._shared import height_width

WIDTHS = {
    "lenet5": (6, 16, 120, 84),
    "lenet5_half_dafl": (3, 8, 60, 42),
    "lenet5_half_zskd": (3, 8, 120, 84),
}


class LeNet5(nn.Module):
    """LeNet-5 with ReLU and max-pooling, the form in which data-free distillation uses it.

    Three unpadded 5x5 convolutions, 2x2 max-pooling after the first two, one hidden linear layer
    and the output layer. The sizes are those of LeCun et al. 1998; ReLU, max-pooling and the plain
    output layer those of DAFL's public code (Chen et al. 2019). With one input channel and ten
    classes:

    - `lenet5`: 6-16-120-84, 61,706 parameters;
    - `lenet5_half_dafl`: every layer halved, 3-8-60-42, 15,738 parameters (Chen et al. 2019);
    - `lenet5_half_zskd`: only the first two convolutions halved, 3-8-120-84, 35,820 parameters
      (Nayak et al. 2019).

    Args:
        num_classes, in_channels: of the data.
        image_size: 32 or 28; images of 28 get a border of two pixels, copied from their edge,
            which on MNIST continues the background under any normalisation.
        widths: output channels of the three convolutions and units of the hidden layer.

    Raises:
        ValueError: for any other image size, at building and in the call.

    Weights have PyTorch's default initialisation, as in the public code.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        widths: Sequence[int] = WIDTHS["lenet5"],
    ) -> None:
        super().__init__()
        _check_size(height_width(image_size))
        first, second, third, units = widths
        self.stage1 = _stage(in_channels, first, pool=True)
        self.stage2 = _stage(first, second, pool=True)
        self.stage3 = _stage(second, third, pool=False)
        self.hidden = nn.Sequential(
            OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(third, units), relu=nn.ReLU())
        )
        self.head = nn.Linear(units, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, 28 or 32, 28 or 32)."""
        return self.head(self.hidden(self.stage3(self.stage2(self.stage1(_framed(images))))))


@torch.fx.wrap  # so that torch.fx traces it as one operation, without its checks of sizes
def _framed(images: Tensor) -> Tensor:
    """Images of 32x32: smaller ones are padded with their outermost pixels."""
    _check_size(tuple(images.shape[2:]))
    return F.pad(images, (2, 2, 2, 2), mode="replicate") if images.shape[-1] == 28 else images


def _stage(inputs: int, outputs: int, *, pool: bool) -> nn.Sequential:
    layers = OrderedDict(conv=nn.Conv2d(inputs, outputs, kernel_size=5), relu=nn.ReLU())
    if pool:
        layers["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(layers)


def _check_size(size: tuple[int, ...]) -> None:
    if size not in ((28, 28), (32, 32)):
        raise ValueError(
            f"LeNet-5 takes images of 28x28 or 32x32 pixels; got {'x'.join(map(str, size))}. "
            "Resize them, or take a resnet or an mlp, which fit other sizes."
        )
