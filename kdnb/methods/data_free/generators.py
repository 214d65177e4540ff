"""Generators of images from noise, with the sizes of DAFL, DFAD and ZSKT, or smaller."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.methods.online.common import running_statistics_kept
from kdnb.nets._shared import check_counts
from kdnb.training.borrowed import modes_kept


@dataclass(frozen=True)
class Published:
    """The differences between the published generators for 32x32 images.

    Attributes:
        start: side of the first maps, as a share of the image's.
        epsilon: epsilon of the batch normalisations after the two inner convolutions.
        tanh: whether a tanh precedes the last normalisation.
    """

    start: float
    epsilon: float
    tanh: bool


# DAFL's public code says BatchNorm2d(128, 0.8), whose second argument is the epsilon, not the
# momentum: it is as large as the variance itself, so the inner maps are only half normalised.
PUBLISHED = {
    "dafl": Published(start=1 / 4, epsilon=0.8, tanh=True),
    "dfad": Published(start=1 / 4, epsilon=1e-5, tanh=True),
    "zskt": Published(start=10 / 32, epsilon=1e-5, tanh=False),
}

FEW = 8  # output channels; a transposed convolution takes nearly as long for one as for eight


class Generator(nn.Module):
    """Noise -> linear layer -> two upsampling convolutions -> image, normalised over the batch.

    Noise of 100 numbers becomes 128 maps of 8x8 (ZSKT: 10x10), batch-normalised; they are enlarged
    by the nearest pixel to half the image's side, convolved (3x3, 128 channels), enlarged to the
    full side, convolved (64 channels), and convolved to the image. Leaky ReLU of slope 0.2 and
    batch normalisation follow the inner convolutions. The last layer is a batch normalisation
    without parameters: images have mean 0 and variance 1 like normalised data, without access to
    any. If a tanh precedes it, large steps can destroy a generator permanently: once every value
    before the tanh is saturated on the same side, all images are exactly 0, and so are all
    gradients.

    Args:
        name: one of `dafl` (Chen et al. 2019), `dfad` (Fang et al. 2019) or `zskt` (Micaelli and
            Storkey 2019).
        latent: numbers in a noise vector; DAFL takes 100 on MNIST and 1000 on CIFAR.
        channels, image_size: channels and side of the images; the size must be a multiple of 4.
        width: channels of the first convolution, 128 as published; the second has half as many.

    Raises:
        ValueError: for an unknown name, or impossible sizes.

    Confirmed in the public code of all three. With DAFL's sizes for MNIST it has 1,049,985
    parameters.

    >>> Generator("dafl", width=16)(torch.randn(2, 100)).shape
    torch.Size([2, 1, 32, 32])
    """

    def __init__(
        self,
        name: str = "dafl",
        *,
        latent: int = 100,
        channels: int = 1,
        image_size: int = 32,
        width: int = 128,
    ) -> None:
        super().__init__()
        check_counts(latent=latent, channels=channels, image_size=image_size, width=width)
        if name not in PUBLISHED:
            raise ValueError(f"there is no generator {name!r}; there are {', '.join(PUBLISHED)}.")
        if image_size % 4 or width % 2:
            raise ValueError(
                f"image_size must be a multiple of 4 and width of 2; got {image_size} and {width}."
            )
        kind = PUBLISHED[name]
        self.latent, self.image_size, self.width = latent, image_size, width
        self.start = round(image_size * kind.start)
        self.linear = nn.Linear(latent, width * self.start**2)
        self.norm = nn.BatchNorm2d(width)
        self.inner1 = _stage(width, width, image_size // 2, kind.epsilon)
        self.inner2 = _stage(width, width // 2, image_size, kind.epsilon)
        self.last = nn.Conv2d(width // 2, channels, 3, padding=1)
        self.squash = nn.Tanh() if kind.tanh else nn.Identity()
        self.whiten = nn.BatchNorm2d(channels, affine=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Images (batch, channels, image_size, image_size) of noise (batch, latent)."""
        # Read channels-last, the layout in which bf16 convolutions are fast; the outputs of a
        # linear layer have no order of their own.
        side = self.start
        maps = self.linear(noise).view(-1, side, side, self.width).permute(0, 3, 1, 2)
        maps = self.inner2(self.inner1(self.norm(maps)))
        return self.whiten(self.squash(self.last(maps)))


class EnlargedConvolution(nn.Conv2d):
    r"""A 3x3 convolution of maps enlarged by nearest-neighbour interpolation.

    If the side doubles, both together are one transposed convolution of stride 2 whose 4x4 kernel
    sums neighbouring weights, :math:`K = w * \mathbf{1}_{2 \times 2}`: the same function with 4
    products per output pixel instead of 9, and without storing the enlarged maps. For few channels,
    such as those of an image, it is one ordinary convolution with four outputs, the corners of a
    square of pixels (Shi et al. 2016): two to three times as fast in the forward pass.

    Args:
        inputs, outputs: channels.
        size: side of the enlarged maps.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        if self.size != 2 * maps.shape[-1]:
            return super().forward(F.interpolate(maps, size=(self.size,) * 2))
        rows = F.pad(self.weight, (0, 0, 1, 1))
        rows = rows[..., 1:, :] + rows[..., :-1, :]
        kernel = F.pad(rows, (1, 1))
        kernel = kernel[..., 1:] + kernel[..., :-1]
        if self.out_channels >= FEW:
            kernel = kernel.flip(2, 3).transpose(0, 1)
            return F.conv_transpose2d(maps, kernel, self.bias, stride=2, padding=1)
        corners = [
            F.pad(kernel[..., row::2, column::2], (column, 1 - column, row, 1 - row))
            for row in (0, 1)
            for column in (0, 1)
        ]
        corners, bias = torch.stack(corners, 1).flatten(0, 1), self.bias.repeat_interleave(4)
        return F.pixel_shuffle(F.conv2d(maps, corners, bias, padding=1), 2)


def _stage(inputs: int, outputs: int, size: int, epsilon: float) -> nn.Sequential:
    return nn.Sequential(
        EnlargedConvolution(inputs, outputs, size),
        nn.BatchNorm2d(outputs, eps=epsilon),
        nn.LeakyReLU(0.2),
    )


def generate(generator: nn.Module, count: int, *, seed: int = 0) -> Tensor:
    """Images of a generator as the student sees them, normalised over their own batch.

    Args:
        generator: a `Generator`, or a module with its attribute `latent`; left unchanged, including
            running statistics.
        count: how many, at least 2, in one batch.

    Returns:
        (count, channels, height, width) float32 on the CPU.
    """
    if count < 2:
        raise ValueError(f"a batch that is normalised over itself needs 2 images; got {count}.")
    noise = torch.randn(count, generator.latent, generator=torch.Generator().manual_seed(seed)).to(
        next(generator.parameters()).device
    )
    with modes_kept(generator), torch.no_grad(), running_statistics_kept(generator):
        return generator.train()(noise).float().cpu().contiguous()
