"""ZSKD (Nayak et al. 2019): data impressions for softmax targets drawn from a Dirichlet.

The similarity of classes is read from the weights of the teacher's last layer. Soft targets are
drawn accordingly, and images are found to which the teacher gives these targets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import matching_cross_entropy
from kdnb.losses.checks import at_least_float32
from kdnb.methods.data_free.synthesis import Bounds, optimise_pixels
from kdnb.training import Networks


def class_similarity(weight: Tensor) -> Tensor:
    r"""The teacher's similarity of classes, from its last layer (Nayak 2019).

    .. math:: C(i, j) = \frac{w_i^T w_j}{\lVert w_i \rVert \lVert w_j \rVert}

    (Nayak et al. 2019, equation 2), of the rows of the last layer's weight.

    Args:
        weight: (classes, features).

    Returns:
        (classes, classes), symmetric, 1 on the diagonal.

    Raises:
        ValueError: for a wrong shape.

    >>> class_similarity(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """
    if weight.ndim != 2 or 0 in weight.shape:
        raise ValueError(f"the weight must be (classes, features); got {tuple(weight.shape)}.")
    unit = F.normalize(at_least_float32(weight.detach()), dim=1)
    return unit @ unit.T


def concentrations(weight: Tensor) -> Tensor:
    """The Dirichlet concentration of each class: its similarities, each row scaled to [0, 1].

    As in the authors' code 1e-4 is added, since a Dirichlet needs all of them above 0.

    Args:
        weight: (classes, features), at least two classes.

    Returns:
        (classes, classes); row k belongs to class k, and is largest there.

    Raises:
        ValueError: for a wrong shape, or a class equally similar to all classes.
    """
    similar = class_similarity(weight)
    low, high = similar.amin(1, keepdim=True), similar.amax(1, keepdim=True)
    if not bool((high > low).all()):
        raise ValueError("every class needs another one that it resembles less than itself.")
    return (similar - low) / (high - low) + 1e-4


def dirichlet_targets(
    weight: Tensor, per_class: int, *, scales: tuple[float, ...] = (1.0, 0.1), seed: int = 0
) -> Tensor:
    r"""Soft targets for data impressions.

    .. math:: y \sim \mathrm{Dir}(K, \beta\, \alpha_k)

    (Nayak et al. 2019, section 3.2) with the concentrations alpha_k of class k.

    Args:
        weight: (classes, features), of the teacher's last layer.
        per_class: targets for each class and each scale.
        scales: the betas; half of the impressions use 1 and half 0.1, which gives peaked targets.
        seed: for the draws.

    Returns:
        (classes * scales * per_class, classes) float32; rows sum to 1, class after class.

    Raises:
        ValueError: for a scale that is not above 0, or fewer than one target.
    """
    if per_class < 1 or not scales or min(scales) <= 0:
        raise ValueError(
            f"per_class must be at least 1 and scales above 0; got {per_class} and {scales}."
        )
    rows = concentrations(weight).double().cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = [
            torch.distributions.Dirichlet(scale * row).sample((per_class,))
            for row in rows
            for scale in scales
        ]
    return torch.cat(drawn).float()


def data_impressions(
    teacher: nn.Module,
    targets: Tensor,
    shape: tuple[int, ...],
    *,
    bounds: Bounds | None = None,
    temperature: float = 20.0,
    iterations: int = 1500,
    lr: float = 0.01,
    batch_size: int = 100,
    precision: str = "32",
    seed: int = 0,
) -> Tensor:
    """Data impressions: images for which the teacher's answers are the targets.

    Args:
        teacher: frozen.
        targets: (images, classes): from `dirichlet_targets`; one-hot rows give class impressions,
            the paper's comparison.
        shape: shape of an image, (channels, height, width).
        bounds: lowest and highest pixel, see `pixel_bounds`. Images start uniform between them,
            else from a standard normal.
        temperature: tau.
        iterations, lr: number of steps and learning rate of Adam.
        batch_size: the number of images optimised at a time; each has its own loss anyway.

    Returns:
        (images, *shape) float32 on the CPU, in the order of the targets.

    Departures: 1500 iterations in batches of 100 are the authors' code, whose rate is 0.001 with
    pixels in [0, 1]. That code rescales a batch to [0, 1] by its extremes in every step; here
    pixels are clipped. Its students see the impressions scaled, shifted, rotated and mirrored; ours
    see them unchanged.
    """
    stream = torch.Generator().manual_seed(seed)
    made = []
    for number, wanted in enumerate(targets.split(batch_size)):
        if bounds is None:
            start = torch.randn(len(wanted), *shape, generator=stream)
        else:
            low, high = bounds
            start = low + (high - low) * torch.rand(len(wanted), *shape, generator=stream)

        def terms(running: Networks, images: Tensor, wanted: Tensor = wanted) -> dict[str, Tensor]:
            logits = running["teacher"](images)
            goal = wanted.to(logits.device)
            return {"impression": matching_cross_entropy(logits, goal, temperature)}

        made.append(
            optimise_pixels(
                start, {"teacher": teacher}, terms, iterations=iterations, lr=lr, bounds=bounds,
                precision=precision, seed=seed + number,
            )
        )  # fmt: skip
    return torch.cat(made)
