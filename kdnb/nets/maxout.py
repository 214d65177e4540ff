"""Maxout convolutional networks: the teacher and the thin deep student of FitNets on MNIST."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdnb.names import brief
from kdnb.nets._shared import above_zero, check_counts, height_width


class Layer(NamedTuple):
    """One maxout layer: channels, kernel and border in pixels, and the pooling after it."""

    channels: int
    kernel: int
    padding: int = 0
    pool: int = 1  # side of the pooling window; the stride is two pixels
    max_norm: float = 1.9365  # of each filter


TEACHER = (Layer(48, 8, 0, 4, 0.9), Layer(48, 8, 3, 4), Layer(24, 5, 3, 2))
FITNET = (
    Layer(16, 5, 0, 1, 0.9), Layer(16, 3, 0, 4, 0.9),
    Layer(16, 5, 3), Layer(16, 3, 0, 4),
    Layer(12, 3, 3), Layer(12, 3, 0, 2),
)  # fmt: skip


class Maxout(nn.Module):
    """A convolution whose channels compete in groups (Goodfellow et al. 2013, equation 1).

    Channel c of the output is the largest of `pieces` convolutions, at each position: a learnt,
    convex, piecewise linear activation.

    Args:
        inputs, outputs: channels.
        kernel, padding: in pixels.
        pieces: convolutions per channel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: int = 0, pieces: int = 2):
        super().__init__()
        self.pieces = pieces
        self.conv = nn.Conv2d(inputs, outputs * pieces, kernel, padding=padding)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H', W')."""
        return reduce(torch.maximum, self.conv(maps).chunk(self.pieces, 1))


class MaxoutNet(nn.Module):
    """Maxout layers with overlapping max-pooling, then softmax regression on what remains.

    - `maxout_mnist`: 48-48-24 channels, 361,066 parameters on MNIST (Goodfellow et al. 2013;
      Romero et al. 2015, appendix A.2);
    - `fitnet_mnist`: 16-16-16-16-12-12 channels, 30,130 parameters: twice as deep, a twelfth of
      the size.

    `layers.0`, `layers.1`, ... are the maps after each layer's pooling.

    Args:
        num_classes, in_channels, image_size: of the data; at least 18x18 pixels.
        layers: see `Layer`.
        irange: initial weights are uniform in ±irange and biases 0, as in the paper with 0.005;
            None gives the variance-preserving start that came a year later: N(0, 2 / fan_in)
            (He et al. 2015).

    Raises:
        ValueError: for images that are too small, or a range that is not above 0.

    Departures: kernel sizes and borders are not printed in the paper; these are the authors'
    (their configuration of the student), and for the teacher the only ones that give the paper's
    number of parameters. The student's last two layers have the paper's 2 pieces, not the
    configuration's 4. He's variance is meant for ReLU; for the larger of two it is a little high.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        layers: Sequence[Layer] = FITNET,
        irange: float | None = 0.005,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_channels=in_channels)
        size = height_width(image_size)
        if irange is not None and not above_zero(irange):
            raise ValueError(f"irange must be a number above 0, or None; got {brief(irange)}.")
        if min(size) < 18:
            raise ValueError(
                f"the maxout networks need images of at least 18x18 pixels; got {size[0]}x{size[1]}."
            )
        self.bounds = [layer.max_norm for layer in layers]
        parts, inputs = [], in_channels
        for layer in layers:
            parts.append(_layer(inputs, layer))
            inputs = layer.channels
        self.layers = nn.Sequential(*parts)
        with torch.no_grad():
            width = self.layers(torch.zeros(1, in_channels, *size)).numel()
        self.pool = nn.Flatten()
        self.head = nn.Linear(width, num_classes)
        self._initialise(irange)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        return self.head(self.pool(self.layers(images)))

    @torch.no_grad()
    def _initialise(self, irange: float | None) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                if irange is None:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                else:
                    module.weight.uniform_(-irange, irange)
                module.bias.zero_()

    @torch.no_grad()
    def constrain(self) -> None:
        """Scale each filter that exceeds its layer's bound down to it (after a step)."""
        for part, bound in zip(self.layers, self.bounds, strict=True):
            part.maxout.conv.weight.renorm_(p=2, dim=0, maxnorm=bound)
        self.head.weight.renorm_(p=2, dim=0, maxnorm=self.bounds[-1])


def _layer(inputs: int, layer: Layer) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        maxout=Maxout(inputs, layer.channels, layer.kernel, layer.padding)
    )
    if layer.pool > 1:
        # Windows may extend over the border, as in the library of the time: 4x4, 4x4, 3x3.
        parts["pool"] = nn.MaxPool2d(layer.pool, stride=2, ceil_mode=True)
    return nn.Sequential(parts)
