"""Small perceptrons that generate, encode and judge images of a label, for digits."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.nets._shared import check_counts


class LabelGenerator(nn.Module):
    """A label and a code -> an image within the pixels' bounds.

    Args:
        classes: how many labels there are.
        latent: numbers in a code.
        channels, image_size: channels and side of the images.
        hidden: units of both hidden layers.
        bounds: smallest and largest value of a normalised pixel.

    >>> LabelGenerator(10, latent=4)(torch.tensor([3, 7]), torch.randn(2, 4)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        classes: int,
        *,
        latent: int = 16,
        channels: int = 1,
        image_size: int = 28,
        hidden: int = 256,
        bounds: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        check_counts(classes=classes, latent=latent, channels=channels, image_size=image_size,
                     hidden=hidden)  # fmt: skip
        if not bounds[0] < bounds[1]:
            raise ValueError(f"bounds must rise; got {bounds}.")
        self.classes, self.latent, self.bounds = classes, latent, bounds
        self.shape = (channels, image_size, image_size)
        self.layers = nn.Sequential(
            nn.Linear(classes + latent, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, math.prod(self.shape)), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, labels: Tensor, codes: Tensor) -> Tensor:
        """Images (batch, channels, size, size) of labels (batch,) and codes (batch, latent)."""
        asked = F.one_hot(labels, self.classes).to(codes.dtype)
        low, high = self.bounds
        return (low + (high - low) * self.layers(torch.cat([asked, codes], 1))).view(
            -1, *self.shape
        )


class CodeEncoder(nn.Module):
    """An image -> mean and log-variance of its code, (batch, latent) each.

    Args:
        latent, channels, image_size, hidden: as those of `LabelGenerator`.
    """

    def __init__(
        self, *, latent: int = 16, channels: int = 1, image_size: int = 28, hidden: int = 256
    ) -> None:
        super().__init__()
        check_counts(latent=latent, channels=channels, image_size=image_size, hidden=hidden)
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * image_size**2, hidden), nn.LeakyReLU(0.2)
        )
        self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance."""
        seen = self.body(images)
        return self.mean(seen), self.log_variance(seen)


class LabelCritic(nn.Module):
    """An image and its intended label -> a score (batch,).

    Args:
        classes, channels, image_size, hidden: as those of `LabelGenerator`.
    """

    def __init__(
        self, classes: int, *, channels: int = 1, image_size: int = 28, hidden: int = 256
    ) -> None:
        super().__init__()
        check_counts(classes=classes, channels=channels, image_size=image_size, hidden=hidden)
        self.classes = classes
        self.layers = nn.Sequential(
            nn.Linear(channels * image_size**2 + classes, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Scores without a sigmoid."""
        asked = F.one_hot(labels, self.classes).to(images.dtype)
        return self.layers(torch.cat([images.flatten(1), asked], 1))[:, 0]
