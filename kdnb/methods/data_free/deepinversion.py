"""DeepInversion (Yin et al. 2020): images with the batch statistics of the teacher's data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses import competition, statistics_distance, total_variation
from kdnb.losses.checks import at_least_float32
from kdnb.methods.data_free.synthesis import Bounds, Keep, check_keep, optimise_pixels
from kdnb.training import Networks

# Of the authors' CIFAR-10 run "with parameters from the paper".
WEIGHTS = {"class": 1.0, "statistics": 10.0, "variation": 2.5e-5, "norm": 0.0, "compete": 0.0}


@contextmanager
def batch_norm_inputs(network: nn.Module) -> Iterator[list[tuple[nn.BatchNorm2d, Tensor]]]:
    """Collect what enters every batch normalisation while the block runs.

    Args:
        network: each of its calls refills the list, in the order of the layers.

    Yields:
        (layer, inputs (batch, channels, height, width)), with gradients as usual.

    Raises:
        ValueError: if it has no batch normalisation with running statistics.
    """
    layers = [
        part
        for part in network.modules()
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None
    ]
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no BatchNorm2d with running statistics to invert: take "
            "ZSKD or DAFL, which need none."
        )
    found: list[tuple[nn.BatchNorm2d, Tensor]] = []
    handles = [network.register_forward_pre_hook(lambda *_: found.clear())]
    for layer in layers:
        handles.append(layer.register_forward_pre_hook(lambda part, x: found.append((part, x[0]))))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def statistics_term(inputs: list[tuple[nn.BatchNorm2d, Tensor]]) -> Tensor:
    r"""DeepInversion's feature regularisation, summed over the layers.

    .. math:: R_{feature} = \sum_l \lVert \mu_l(x) - \hat\mu_l \rVert_2
        + \lVert \sigma_l^2(x) - \hat\sigma_l^2 \rVert_2

    Args:
        inputs: the output of `batch_norm_inputs`.

    Returns:
        A scalar; its gradient is finite at 0.
    """
    total = []
    for layer, maps in inputs:
        maps = at_least_float32(maps)
        variance, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
        total.append(
            statistics_distance(
                mean, variance, layer.running_mean.to(mean), layer.running_var.to(mean)
            )
        )
    return torch.stack(total).sum()


def deep_inversion(
    teacher: nn.Module,
    labels: Tensor,
    shape: tuple[int, ...],
    *,
    student: nn.Module | None = None,
    weights: Mapping[str, float] = WEIGHTS,
    temperature: float = 3.0,
    jitter: int = 2,
    bounds: Bounds | None = None,
    iterations: int = 2000,
    lr: float = 0.05,
    precision: str = "32",
    keep: Keep = "best",
    seed: int = 0,
) -> Tensor:
    r"""Synthesise images of given classes, with a student those on which it still errs (Yin 2020).

    .. math:: \min_x\; w_c\, H(e_y, T(x)) + w_f R_{feature} + w_{tv} R_{TV}
        + w_{l2} \lVert x \rVert_2 + w_a R_{compete}

    (Yin et al. 2020, equations 3 to 8; the last term makes it Adaptive DeepInversion).

    Args:
        teacher: frozen, with batch normalisation.
        labels: (images,), made in one batch, whose statistics are matched, so use hundreds.
        shape: shape of an image, (channels, height, width).
        student: of the competition, frozen; needed where `compete` has a weight.
        weights: weights of the terms `class`, `statistics`, `variation`, `norm` and `compete`;
            those that are 0 or absent are left out.
        temperature: temperature of the competition.
        jitter: the images are shifted cyclically by up to this many pixels, at random in every
            iteration.
        bounds: bounds of the pixels; None as in the authors' CIFAR code.
        iterations, lr: number of steps and learning rate of Adam.
        keep: "best" for the images with the lowest loss, "last" for those after the last step.

    Returns:
        (images, *shape) float32 on the CPU.

    Raises:
        ValueError: for an unknown term, an unknown `keep`, a teacher without batch normalisation,
            or a competition without a student.

    Departures: the authors' code, read in November 2026, keeps the images of the lowest loss: for
    ImageNet it keeps a copy (`deepinversion.py`); for CIFAR-10 it keeps the same tensor that Adam
    then changes, which amounts to "last" (`deepinversion_cifar10.py`). Their competition clamps and
    swaps (see `competition`).
    """
    check_keep(keep)
    if unknown := set(weights) - set(WEIGHTS):
        raise ValueError(f"there is no term {min(unknown)!r}; there are {', '.join(WEIGHTS)}.")
    weight = {name: value for name, value in weights.items() if value}
    if "compete" in weight and student is None:
        raise ValueError("the competition needs a student.")
    networks = {"teacher": teacher} | ({"student": student} if student is not None else {})
    start = torch.randn(len(labels), *shape, generator=torch.Generator().manual_seed(seed))
    with batch_norm_inputs(teacher) as inputs:

        def terms(running: Networks, images: Tensor) -> dict[str, Tensor]:
            shift = torch.randint(-jitter, jitter + 1, (2,)).tolist()
            images = images.roll(shift, dims=(2, 3))
            logits = running["teacher"](images)
            parts = {
                "class": lambda: F.cross_entropy(logits, labels.to(logits.device)),
                "statistics": lambda: statistics_term(inputs),
                "variation": lambda: total_variation(images),
                "norm": lambda: torch.linalg.vector_norm(images),
                "compete": lambda: competition(running["student"](images), logits, temperature),
            }
            return {name: value * parts[name]() for name, value in weight.items()}

        return optimise_pixels(
            start, networks, terms, iterations=iterations, lr=lr, bounds=bounds,
            precision=precision, keep=keep, seed=seed,
        )  # fmt: skip
