r"""Knowledge points (Cheng et al. 2020): the places of an image whose information a layer keeps.

Each place gets as much noise as a layer's features tolerate. If this is little, the layer has kept
the information of the place: such a place on the object is a knowledge point (the paper of 2020
calls
it a visual concept). The noise is the largest that the features tolerate:

.. math:: \min_\sigma\; \frac{E_\varepsilon |f(x + \sigma\odot\varepsilon) - f(x)|^2}{\delta^2}
          - \frac{\lambda}{P} \sum_i H_i, \qquad H_i = \log\sigma_i + \tfrac12\log 2\pi e

over P places, with the features' own sensitivity
:math:`\delta^2 = E_\varepsilon |f(x + \tau\varepsilon) - f(x)|^2` to a small noise :math:`\tau`, so
that layers and networks can be compared. Where features change in proportion to the noise, the
first term is :math:`\lambda/2` at the minimum: all networks have the same budget.

Source: the authors' code
(Jenniferlyx/Explaining-Knowledge-Distillation-by-Quantifying-the-Knowledge, `sigma/train_sigma.py`,
`sigma/find_knowledge_new.py` and `model/models.py`, November 2026), which matches the three
hypotheses of the paper's abstract. Its constants are our defaults where we have one:
:math:`\tau = 0.01`, :math:`\lambda = 7` (6 for ResNets), sigma from 0.001 to 1, a margin of 0.2
nats; one sigma of theirs is for 14 x 14 of 224 x 224 pixels.

Departures: Adam with a falling rate instead of 80 steps of gradient descent. The authors keep the
step whose mean entropy is nearest -2.8, which brings all images to the same level, and compare with
the background of all images. Here each image is compared with its own background, so its level does
not matter. They leave out images on which a network tolerates more noise on the object than beside
it; here all images count.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

CONSTANT = 0.5 * math.log(2 * math.pi * math.e)
LEAST, MOST = 0.001, 1.0  # the authors' bounds of sigma


def pixel_entropies(
    features: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    block: int = 1,
    budget: float = 7.0,
    noise: float = 0.01,
    steps: int = 100,
    lr: float = 0.1,
    samples: int = 4,
    seed: int = 0,
) -> Tensor:
    """The entropy of the largest noise at each place that a layer's features tolerate.

    The estimate is noisy compared with the margin: with 60 steps of 4 samples, two seeds differ by
    about 0.2 nats per place. `small_noise_entropies` is exact where the noise is small.

    Args:
        features: from images to a layer's features (batch, ...); the network in eval mode.
        images: (batch, channels, height, width).
        block: a place is block x block pixels, in all channels; they share one sigma.
        budget: lambda.
        noise: tau, in the images' units; sigma begins there.
        steps, lr: number of steps and learning rate of Adam on log sigma; the rate falls to 0 along
            a cosine.
        samples: noises of each step.
        seed: for the noise.

    Returns:
        (batch, height / block, width / block), in nats.

    Raises:
        ValueError: for images of a wrong shape, a block that does not divide them, a budget or
            noise that is not above 0, or an image whose features no noise changes.
    """
    height, width = _size(images, block, budget, noise)
    stream = torch.Generator().manual_seed(seed)

    def change(sigma: Tensor | float, count: int) -> Tensor:
        """The mean squared change of each image's features, over `count` noises."""
        unit = torch.randn(count, *images.shape, generator=stream)
        moved = features((images + sigma * unit).flatten(0, 1)).flatten(1)
        return (moved.view(count, len(images), -1) - clean).square().sum(2).mean(0)

    with torch.no_grad():
        clean = features(images).flatten(1)
        scale = change(noise, 8 * samples)
    _refuse_dead(scale)
    log_sigma = torch.full(
        (len(images), 1, height // block, width // block), math.log(noise), requires_grad=True
    )
    optimiser = torch.optim.Adam([log_sigma], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    for _ in range(steps):
        sigma = F.interpolate(log_sigma.exp(), scale_factor=block)
        loss = (change(sigma, samples) / scale - budget * log_sigma.flatten(1).mean(1)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            log_sigma.clamp_(math.log(LEAST), math.log(MOST))
    return log_sigma.detach()[:, 0] + CONSTANT


def small_noise_entropies(
    features: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    block: int = 1,
    budget: float = 7.0,
    noise: float = 0.01,
) -> Tensor:
    r"""The limit of `pixel_entropies` for small noise, without random numbers.

    The features' change is then :math:`\sum_i \sigma_i^2 g_i`, with :math:`g_i` the squared length
    of the features' gradient at place i, summed over features and pixels. So
    :math:`\delta^2 = \tau^2 \sum_j g_j`, and the minimum is at

    .. math:: \sigma_i^2 = \frac{\lambda\, \tau^2 \sum_j g_j}{2 P\, g_i}

    It takes one backward pass for each feature.

    Args, returns, raises: as `pixel_entropies`.
    """
    _size(images, block, budget, noise)
    x = images.detach().clone().requires_grad_()
    found = features(x).flatten(1)
    squares = torch.zeros_like(x[:, :1])
    for k in range(found.shape[1]):
        (slope,) = torch.autograd.grad(found[:, k].sum(), x, retain_graph=True)
        squares += slope.square().sum(1, keepdim=True)
    places = F.avg_pool2d(squares, block)[:, 0] * block**2
    whole = places.sum((1, 2), keepdim=True)
    _refuse_dead(whole[:, 0, 0])
    variance = budget * noise**2 * whole / (2 * places[0].numel() * places)
    return variance.sqrt().clamp(LEAST, MOST).log() + CONSTANT


def knowledge_points(
    entropies: Tensor, foreground: Tensor, *, margin: float = 0.2
) -> dict[str, Tensor]:
    """Count the places of the object and of the background that a layer keeps.

    A place is kept when its entropy lies below the mean of the background's by more than the
    margin.

    Args:
        entropies: (batch, height, width) of `pixel_entropies`.
        foreground: (batch, height, width), True on the object.
        margin: b, in nats.

    Returns:
        `kept` (batch, height, width), True where a place is kept; and for each image `foreground`
        and `background`, the counts, and `quality`, the share of the kept places that belong to the
        object (0 where none is kept).

    Raises:
        ValueError: for wrong shapes, or an image without background.
    """
    if entropies.shape != foreground.shape or entropies.ndim != 3:
        raise ValueError(
            f"both are (batch, height, width); got {tuple(entropies.shape)}, {tuple(foreground.shape)}."
        )
    behind = ~foreground
    if not behind.flatten(1).any(1).all():
        raise ValueError("every image needs places of background.")
    mean = (entropies * behind).sum((1, 2)) / behind.sum((1, 2))
    kept = mean[:, None, None] - entropies > margin
    own, other = (kept & foreground).sum((1, 2)), (kept & behind).sum((1, 2))
    quality = own / (own + other).clamp_min(1)
    return {"kept": kept, "foreground": own, "background": other, "quality": quality}


def learning_speed(counts: Tensor, distances: Tensor) -> tuple[float, float]:
    r"""The distance of the weights when an image has most points, and its variance.

    .. math:: D = E_I\big[d_{\hat m(I)}\big],\quad V = \mathrm{Var}_I\big[d_{\hat m(I)}\big],\quad
              \hat m(I) = \arg\max_m N_m(I), \quad
              d_m = \frac{1}{|w_0|}\sum_{t \le m} |w_t - w_{t-1}|

    A small D is fast learning; with a small V all images' points are learnt at about the same time.

    Args:
        counts: N, (checkpoints, images) points of the object.
        distances: d, (checkpoints,): the path length of the weights so far, divided by the length
            of the initial weights.

    Returns:
        D and V, the variance over the images as a population.

    Raises:
        ValueError: for wrong shapes.
    """
    if counts.ndim != 2 or distances.shape != counts.shape[:1]:
        raise ValueError(
            f"counts are (checkpoints, images), distances (checkpoints,); got {tuple(counts.shape)}, "
            f"{tuple(distances.shape)}."
        )
    first = (counts == counts.amax(0)).int().argmax(0)  # the first of several maxima
    at = distances[first].double()
    return float(at.mean()), float(at.var(correction=0))


def stability(kept: Tensor) -> Tensor:
    r"""The share of all places ever kept that the last checkpoint keeps.

    .. math:: \rho = \frac{|S_M|}{|S_1 \cup \dots \cup S_M|}

    with the kept places S of M checkpoints. Places that were kept once and given up are detours.

    Args:
        kept: (checkpoints, images, height, width), True where a place is kept.

    Returns:
        (images,), within 0 and 1; 0 where nothing was ever kept.

    Raises:
        ValueError: for a wrong shape.
    """
    if kept.ndim != 4:
        raise ValueError(f"kept is (checkpoints, images, height, width); got {tuple(kept.shape)}.")
    ever = kept.any(0).sum((1, 2))
    return kept[-1].sum((1, 2)) / ever.clamp_min(1)


def _size(images: Tensor, block: int, budget: float, noise: float) -> tuple[int, int]:
    if images.ndim != 4:
        raise ValueError(f"images are (batch, channels, height, width); got {images.shape}.")
    height, width = images.shape[2:]
    if block < 1 or height % block or width % block:
        raise ValueError(f"a block of {block} does not divide images of {height} x {width} pixels.")
    if not (budget > 0 and noise > 0):
        raise ValueError(f"budget and noise must be above 0; got {budget} and {noise}.")
    return height, width


def _refuse_dead(change: Tensor) -> None:
    if not (change > 0).all():
        number = int((change > 0).logical_not().nonzero()[0])
        raise ValueError(f"noise does not change the features of image {number}.")
