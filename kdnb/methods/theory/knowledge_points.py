r"""Knowledge points (Cheng et al. 2020): the pixels whose information a layer keeps.

Each pixel gets as much noise as a layer's features bear. Where little noise is borne, the layer has
kept what the pixel said: such a pixel of the object is a knowledge point.

.. math:: \min_\sigma\; \frac{E_\varepsilon |f(x + \sigma\odot\varepsilon) - f(x)|^2}{\delta^2}
          - \frac{\lambda}{P} \sum_i \log \sigma_i

over P pixels, where :math:`\delta^2` is the mean squared distance of the features of two images, so
that layers and networks compare. At the minimum the first term is :math:`\lambda/2` where features
change in proportion to the noise: all networks have the same budget. The entropy of a pixel's
noise is :math:`H_i = \log\sigma_i + \tfrac12\log 2\pi e`.

Recalled: the authors' constants, which are arguments here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

CONSTANT = 0.5 * math.log(2 * math.pi * math.e)


def pixel_entropies(
    features: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    budget: float = 0.1,
    steps: int = 100,
    lr: float = 0.1,
    samples: int = 4,
    start: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """The entropy of the largest noise at each pixel that a layer's features bear.

    Args:
        features: from images to a layer's features (batch, ...); the network in eval mode.
        images: (batch, channels, height, width); a pixel's channels share one sigma.
        budget: lambda.
        steps, lr: of Adam on log sigma.
        samples: noises of each step.
        start: sigma at the beginning.
        seed: of the noise.

    Returns:
        (batch, height, width), in nats.

    Raises:
        ValueError: for fewer than two images, whose features measure the scale, or a budget that is
            not above 0.
    """
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(f"images are (two or more, channels, height, width); got {images.shape}.")
    if not (budget > 0 and start > 0):
        raise ValueError(f"budget and start must be above 0; got {budget} and {start}.")
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        clean = features(images).flatten(1)
        scale = (clean - clean.roll(1, 0)).square().sum(1).mean()
    size = len(images), 1, *images.shape[2:]
    log_sigma = torch.full(size, math.log(start), requires_grad=True)
    optimiser = torch.optim.Adam([log_sigma], lr=lr)
    pixels = images.shape[2] * images.shape[3]
    for _ in range(steps):
        noise = torch.randn(samples, *images.shape, generator=stream)
        noisy = (images + log_sigma.exp() * noise).flatten(0, 1)
        moved = features(noisy).flatten(1) - clean.repeat(samples, 1)
        change = moved.square().sum(1).view(samples, -1).mean(0) / scale
        loss = (change - budget / pixels * log_sigma.flatten(1).sum(1)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return log_sigma.detach()[:, 0] + CONSTANT


def knowledge_points(
    entropies: Tensor, foreground: Tensor, *, margin: float = 0.2
) -> dict[str, Tensor]:
    """How many pixels of the object, and of the background, a layer keeps.

    A pixel is kept when its entropy lies below the mean of the background's by the margin or more.

    Args:
        entropies: (batch, height, width) of `pixel_entropies`.
        foreground: (batch, height, width), True on the object.
        margin: b, in nats.

    Returns:
        For each image: `foreground` and `background`, the counts, and `quality`, the share of the
        kept pixels that belong to the object (0 where none is kept).

    Raises:
        ValueError: for other shapes, or an image without background.
    """
    if entropies.shape != foreground.shape or entropies.ndim != 3:
        raise ValueError(
            f"both are (batch, height, width); got {tuple(entropies.shape)}, {tuple(foreground.shape)}."
        )
    behind = ~foreground
    if not behind.flatten(1).any(1).all():
        raise ValueError("every image needs pixels of background.")
    mean = (entropies * behind).sum((1, 2)) / behind.sum((1, 2))
    kept = mean[:, None, None] - entropies > margin
    own, other = (kept & foreground).sum((1, 2)), (kept & behind).sum((1, 2))
    return {"foreground": own, "background": other, "quality": own / (own + other).clamp_min(1)}
