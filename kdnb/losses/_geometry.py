"""Shared geometry of a batch: checks, matrix products, directions and distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdnb.losses.checks import at_least_float32

# Up to this many numbers the differences of all pairs are formed; above, a centred product is.
PAIRWISE_LIMIT = 2**22


def check_samples(minimum: int = 2, **tensors: Tensor) -> None:
    """Require floating tensors (batch, ...) of one batch size, at least `minimum` samples."""
    for name, value in tensors.items():
        if value.ndim < 2 or 0 in value.shape or not value.is_floating_point():
            raise ValueError(
                f"{name} must be floating numbers of shape (batch, ...), nothing empty; "
                f"got {value.dtype} of shape {tuple(value.shape)}."
            )
    got = " and ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
    if len({len(value) for value in tensors.values()}) > 1:
        raise ValueError(f"both must hold the same number of samples; got {got}.")
    if any(len(value) < minimum for value in tensors.values()):
        raise ValueError(f"a relation needs at least {minimum} samples in the batch; got {got}.")


def check_maps(**maps: Tensor) -> None:
    """Require non-empty floating maps (batch, channels, height, width) of one batch size."""
    for name, value in maps.items():
        if value.ndim != 4:
            raise ValueError(
                f"{name} must be maps of shape (batch, channels, height, width); "
                f"got {tuple(value.shape)}."
            )
    check_samples(minimum=1, **maps)


def check_same_channels(student: tuple[str, Tensor], teacher: tuple[str, Tensor]) -> None:
    """Refuse two maps whose numbers of channels differ, naming both."""
    if student[1].shape[1] != teacher[1].shape[1]:
        raise ValueError(
            f"{student[0]} {tuple(student[1].shape)} and {teacher[0]} {tuple(teacher[1].shape)} "
            "must have the same number of channels; map the student's with a 1x1 convolution."
        )


def check_layers(student: Sequence[Tensor], teacher: Sequence[Tensor], minimum: int = 1) -> None:
    """Require two equally long lists of layers."""
    if len(student) != len(teacher) or len(student) < minimum:
        raise ValueError(
            f"student_layers and teacher_layers must be equally long, at least {minimum}; "
            f"got {len(student)} and {len(teacher)}."
        )


def check_positive(**numbers: float) -> None:
    """Require finite numbers above zero; names come from the keywords."""
    for name, value in numbers.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a finite number above 0; got {value}.")


def rows(samples: Tensor) -> Tensor:
    """(batch, ...) as (batch, features), in float32 at least."""
    return at_least_float32(samples).flatten(1)


def product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product in the precision of its factors, whatever the autocast mode."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right


def gram(samples: Tensor) -> Tensor:
    """(batch, batch) products of all pairs of rows."""
    return _Gram.apply(samples)


class _Gram(torch.autograd.Function):
    """X X' with the gradient (G + G') X: one product where autograd, not knowing that both
    factors are the same, takes two."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor) -> Tensor:
        ctx.save_for_backward(samples)
        return product(samples, samples.T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return product(gradient + gradient.T, *ctx.saved_tensors)


def root(squares: Tensor) -> Tensor:
    """The square root, with gradient 0 instead of infinity where the square is 0."""
    positive = squares > 0
    return torch.where(positive, squares, 1).sqrt() * positive


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Vectors of length 1 along `dim`; a zero vector stays zero and gets no gradient."""
    norms = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors * ratio(torch.ones_like(norms), norms)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, and 0 without gradient where the denominator is 0."""
    positive = denominator > 0
    return numerator / torch.where(positive, denominator, 1) * positive


def cosines(samples: Tensor) -> Tensor:
    """(batch, batch) cosines of all pairs of rows from one matrix product."""
    products = gram(samples)
    norms = root(products.diagonal())
    return ratio(products, norms.unsqueeze(0) * norms.unsqueeze(1))


def differences(samples: Tensor) -> Tensor:
    """(batch, batch, features): entry [j, i] is row i minus row j."""
    return samples.unsqueeze(0) - samples.unsqueeze(1)


def is_small(samples: Tensor) -> bool:
    """Whether the differences of all pairs are few enough to be formed."""
    return len(samples) * samples.numel() <= PAIRWISE_LIMIT


def centred_gram(samples: Tensor) -> Tensor:
    """(batch, batch) products after the mean is taken off: no digits go to a common offset.

    The mean carries no gradient: what is made of differences does not change with it.
    """
    return gram(samples - samples.detach().mean(dim=0))


def squared_distances(samples: Tensor) -> Tensor:
    """(batch, batch) squared Euclidean distances of the rows, with an exact zero diagonal."""
    if is_small(samples):
        return differences(samples).square().sum(dim=-1)
    return gram_distances(centred_gram(samples))


def gram_distances(products: Tensor) -> Tensor:
    """The squared distances that a Gram matrix implies."""
    norms = products.diagonal()
    squares = (norms.unsqueeze(0) + norms.unsqueeze(1) - 2 * products).clamp_min(0)
    return squares.masked_fill(identity(products), 0)


def identity(samples: Tensor) -> Tensor:
    """(batch, batch) truth values: is it the same sample?"""
    return torch.eye(len(samples), dtype=torch.bool, device=samples.device)
