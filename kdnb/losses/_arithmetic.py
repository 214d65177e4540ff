"""Shared arithmetic of the losses: divergences, and distances that are safe at zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kdnb.losses.checks import at_least_float32

# Up to this many numbers all pairwise differences are formed, above it a centred product. On a CPU
# both are equally fast here (64 samples of 64 features); at 16 times as many the product is 20
# times faster.
PAIRWISE_LIMIT = 2**18
ELSEWHERE = 16  # times the limit on a GPU, where the product's check for close pairs forces a sync
# A pair whose squared distance is less than this share of its squared norms is close: float32
# products would leave fewer than about four digits of the distance.
CLOSE = 1e-2
# Triples of a batch that are processed at once: all those of 161 samples, 16 MiB of float32.
TRIPLES = 2**22
# A finite logit whose probability is 0 at every temperature.
EXCLUDED = -1e30


def rows(samples: Tensor) -> Tensor:
    """(batch, ...) as (batch, features), in float32 or wider."""
    return at_least_float32(samples).flatten(1)


def no_autocast(value: Tensor) -> torch.autocast:
    """A context in which matrix products keep the precision of their inputs."""
    return torch.autocast(value.device.type, enabled=False)


def product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product in the wider precision of its factors, whatever the autocast mode."""
    dtype = torch.promote_types(left.dtype, right.dtype)
    with no_autocast(left):
        return left.to(dtype) @ right.to(dtype)


def in_double(value: Tensor) -> Tensor:
    """Convert to float64 where the device supports it (Apple's does not)."""
    return value if value.device.type == "mps" else value.double()


def nan_from(value: Tensor, *sources: Tensor) -> Tensor:
    """The value, or NaN if a source holds a NaN that a comparison would hide."""
    spoilt = torch.stack([source.detach().isnan().any() for source in sources]).any()
    return value * torch.ones_like(value).masked_fill(spoilt, torch.nan)


def two_classes(logits: Tensor) -> Tensor:
    """Turn one logit per sample into two, the second 0; leave several logits unchanged."""
    return F.pad(logits, (0, 1)) if logits.shape[1] == 1 else logits


def root(squares: Tensor) -> Tensor:
    """The square root, with gradient 0 instead of infinity where the square is 0."""
    zero = squares <= 0
    return torch.where(zero, 1, squares).sqrt() * ~zero


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, and 0 without gradient where the denominator is 0."""
    zero = denominator <= 0
    return numerator / torch.where(zero, 1, denominator) * ~zero


def unit(vectors: Tensor, dim: int | tuple[int, ...] = -1) -> Tensor:
    """Vectors of length 1 along `dim`; a zero vector stays zero and gets no gradient."""
    vectors = at_least_float32(vectors)
    norms = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors * ratio(torch.ones_like(norms), norms)


def direction(values: Tensor, dim: int) -> Tensor:
    """Centre along `dim` and scale to length 1; zeros if the values are constant up to rounding.

    Values are divided by the largest deviation first, so that squares of tiny probabilities do not
    underflow.
    """
    centred = values - values.mean(dim, keepdim=True)
    limits = torch.finfo(values.dtype)
    largest = centred.detach().abs().amax(dim, keepdim=True)
    rounding = 8 * limits.eps * values.detach().abs().amax(dim, keepdim=True) + 4 * limits.tiny
    constant = largest <= rounding
    scaled = (centred / largest.masked_fill(constant, 1)).masked_fill(constant, 1)
    return (scaled / torch.linalg.vector_norm(scaled, dim=dim, keepdim=True)).masked_fill(
        constant, 0
    )


def summed_squares(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared L2 distance of each sample, averaged over the batch."""
    difference = at_least_float32(student) - at_least_float32(teacher)
    return difference.square().flatten(1).sum(dim=1).mean()


def mean_squares(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference averaged over every element."""
    return (at_least_float32(student) - at_least_float32(teacher)).square().mean()


def split_target(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's value at its label (batch,), and the others in order (batch, classes - 1)."""
    column = labels.long().unsqueeze(1)
    others = torch.arange(values.shape[1] - 1, device=values.device).expand(len(values), -1)
    return values.gather(1, column).squeeze(1), values.gather(1, others + (others >= column))


def divergence(teacher: Tensor, student: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""KL(softmax(teacher / T) ‖ softmax(student / T)) of each row (batch,), never below 0.

    The gradient is taken from the sum of p (log p - log q), where it is accurate. The value of that
    sum is not: near a match, terms of both signs cancel. With w = (v - z) / T minus its mean under
    p, the divergence equals

    .. math:: \log \sum_k p_k e^{-w_k} = \log\Big(1 + \sum_k p_k (e^{-w_k} - 1 + w_k)\Big),

    whose terms are all at least 0. Values below log 2 are computed this way.

    A class that the teacher excludes by a logit of minus infinity adds nothing.
    """
    excluded = torch.isneginf(teacher)
    if excluded.device.type != "cpu" or bool(excluded.any()):  # any() would force a sync elsewhere
        student = student.masked_fill(excluded & torch.isneginf(student), EXCLUDED)
        teacher = teacher.masked_fill(excluded, EXCLUDED)
    log_q = (student / temperature).log_softmax(1)
    log_p = (teacher / temperature).log_softmax(1)
    p = log_p.exp()
    summed = (p * (log_p - log_q)).sum(1)
    with torch.no_grad():
        gap = (student - teacher) / temperature
        moved = gap - (p * gap).sum(1, keepdim=True)
        small = (p * _beyond_linear(moved)).sum(1)
        # Replaces the value of the sum and keeps its gradient.
        return summed.copy_(torch.where(small < 1, small.log1p(), summed.clamp_min(0)))


def softened_cross_entropy(teacher: Tensor, student: Tensor) -> Tensor:
    """H(softmax(teacher), softmax(student)) of each row (batch,)."""
    return cross_entropy_of(teacher.softmax(1), student)


def cross_entropy_of(probabilities: Tensor, logits: Tensor) -> Tensor:
    """H(probabilities, softmax(logits)) of each row (batch,).

    A class of probability 0 adds nothing, even if its logit is minus infinity.
    """
    nothing = torch.isneginf(logits) & (probabilities == 0)
    return -(probabilities * logits.masked_fill(nothing, EXCLUDED).log_softmax(1)).sum(1)


def log_order(scores: Tensor) -> Tensor:
    """The log-probability, under the Plackett-Luce model, of the order along the last dimension.

    Items are drawn one after another, each by a softmax over those that remain.
    """
    rest = scores.flip(-1).logcumsumexp(dim=-1).flip(-1)
    return (scores - rest).sum(dim=-1)


def _beyond_linear(x: Tensor) -> Tensor:
    """e^x - 1 - x, by its series where the subtraction would cancel."""
    terms = 6 if torch.finfo(x.dtype).eps > 1e-10 else 12
    series = x.mul(1 / (terms + 2)).add_(1).div_(terms + 1)
    for divisor in range(terms, 1, -1):
        series.mul_(x).add_(1).div_(divisor)
    return torch.where(x.abs() < 0.25, series.mul_(x).mul_(x), x.expm1().sub_(x))


def gram(samples: Tensor) -> Tensor:
    """(batch, batch) products of all pairs of rows."""
    return _Gram.apply(samples)


class _Gram(torch.autograd.Function):
    """X X' with the gradient (G + G') X.

    This takes one product. Autograd takes two, since it does not know that both factors are the
    same.
    """

    @staticmethod
    def forward(ctx: Any, samples: Tensor) -> Tensor:
        ctx.save_for_backward(samples)
        return product(samples, samples.T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return product(gradient + gradient.T, *ctx.saved_tensors)


def cosines(samples: Tensor) -> Tensor:
    """(batch, batch) cosines of all pairs of rows from one matrix product."""
    products = gram(samples)
    norms = root(products.diagonal())
    return ratio(products, norms.unsqueeze(0) * norms.unsqueeze(1))


def differences(samples: Tensor) -> Tensor:
    """(batch, batch, features): entry [j, i] is row i minus row j."""
    return samples.unsqueeze(0) - samples.unsqueeze(1)


def is_small(samples: Tensor) -> bool:
    """Whether there are few enough pairwise differences to form them all."""
    limit = PAIRWISE_LIMIT * (1 if samples.device.type == "cpu" else ELSEWHERE)
    return len(samples) * samples.numel() <= limit


def centred_gram(samples: Tensor) -> Tensor:
    """(batch, batch) products after subtracting the mean, so that a common offset costs no digits.

    The mean carries no gradient, since distances do not depend on it. If two samples lie close
    together, the products are computed in float64 to keep the digits of their distance.
    """
    products = gram(samples - samples.detach().mean(dim=0))
    if products.dtype == torch.float32 and bool(_some_pair_is_close(products.detach())):
        wide = in_double(samples)
        products = gram(wide - wide.detach().mean(dim=0))
    return products


def _some_pair_is_close(products: Tensor) -> Tensor:
    norms = products.diagonal()
    norms = norms.unsqueeze(0) + norms.unsqueeze(1)
    close = norms - 2 * products < CLOSE * norms
    return close.masked_fill(identity(products), False).any()


def squared_distances(samples: Tensor) -> Tensor:
    """(batch, batch) squared Euclidean distances of the rows, with an exact zero diagonal."""
    if is_small(samples):
        return differences(samples).square().sum(dim=-1)
    return gram_distances(centred_gram(samples)).to(samples.dtype)


def gram_distances(products: Tensor) -> Tensor:
    """The squared distances that a Gram matrix implies."""
    norms = products.diagonal()
    squares = (norms.unsqueeze(0) + norms.unsqueeze(1) - 2 * products).clamp_min(0)
    return squares.masked_fill(identity(products), 0)


def identity(samples: Tensor) -> Tensor:
    """(batch, batch) booleans, true where both samples are the same."""
    return torch.eye(len(samples), dtype=torch.bool, device=samples.device)


def summed_over_anchors(batch: int, part: Callable[[slice], Tensor]) -> Tensor:
    """Sum `part` over all anchors, a few at a time, each with (batch, batch) pairs.

    For a large batch the backward pass recomputes intermediate values instead of storing them, so
    that memory grows with the square of the batch and not with its cube.
    """
    count = max(1, TRIPLES // batch**2)
    if count >= batch:
        return part(slice(0, batch))
    slices = (slice(start, min(start + count, batch)) for start in range(0, batch, count))
    options = {"use_reentrant": False, "preserve_rng_state": False}
    return torch.stack([checkpoint(part, anchors, **options) for anchors in slices]).sum()
