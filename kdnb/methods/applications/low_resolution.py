"""Low-resolution recognition: the teacher sees the whole image, the student few pixels of it.

Surveillance cameras see small faces, though large images were there for training. The student is
deployed on small images; in training both look at the same picture, each at its own resolution.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses.checks import check_number


def reduced(images: Tensor, side: int) -> Tensor:
    """Images (N, channels, height, width) as a camera of `side` x `side` pixels sees them.

    Pixels are averaged over areas and then enlarged to the original size by bilinear interpolation,
    so that a network for the large images can read them.

    >>> import torch
    >>> reduced(torch.arange(4.0).view(1, 1, 2, 2), 1).flatten()
    tensor([1.5000, 1.5000, 1.5000, 1.5000])
    """
    check_number(least=1, most=min(images.shape[-2:]), whole=True, side=side)
    small = F.adaptive_avg_pool2d(images, int(side))
    return F.interpolate(small, images.shape[-2:], mode="bilinear", align_corners=False)


class LowResolution(nn.Module):
    """A network that reduces its input images by :func:`reduced` before reading them.

    Thus `kdnb.distil(LowResolution(student, 7), teacher, images)` is distillation across
    resolutions
    (Ge et al. 2019), with any method on logits: the teacher sees the same images unreduced.

    Args:
        network: a network for the large images.
        side: the number of pixels that it sees, in height and width.
    """

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        check_number(least=1, whole=True, side=side)
        self.network, self.side = network, side

    def forward(self, images: Tensor) -> Any:
        """The network's answer to the reduced images."""
        return self.network(reduced(images, self.side))
