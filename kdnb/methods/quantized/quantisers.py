"""Quantisers: bucketed uniform, ternary and sign ones, and learnt points.

A quantiser of weights is any function that maps a tensor to one of the same shape, such as
``partial(uniform, bits=2)``. `kdnb.methods.quantized.weights.quantised` inserts one between a
network and its weights. If the points themselves learn, it is a module: `Points` (Polino et al.
2018, differentiable quantization) or `LearntStep`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.losses.checks import (
    at_least_float32,
    check_choice,
    check_flags,
    check_number,
    check_parameters,
)

MOST_BITS = 16  # float32 cannot distinguish more points in a bucket


class Buckets(NamedTuple):
    """Numbers in groups (buckets), each scaled to [0, 1].

    Attributes:
        scaled: (buckets, size), in float32 or wider; the last bucket is filled up with its last
            number.
        lows, spans: (buckets, 1): smallest number, and largest minus smallest, of each; a span
            below 1e-10 is 1.
    """

    scaled: Tensor
    lows: Tensor
    spans: Tensor

    def restored(self, scaled: Tensor, like: Tensor) -> Tensor:
        """Scaled numbers back on the scale of the bucket, in the shape of a tensor."""
        whole = scaled * self.spans + self.lows
        return whole.flatten()[: like.numel()].view(like.shape)


def buckets(values: Tensor, bucket: int | None = 256) -> Buckets:
    r"""Scale numbers to [0, 1], bucket by bucket (Polino et al. 2018, section 2.1).

    .. math:: \mathrm{sc}(v) = (v - \beta) / \alpha, \quad \beta = \min_i v_i,
        \; \alpha = \max_i v_i - \min_i v_i

    Args:
        values: of any shape, flattened row by row.
        bucket: numbers that share a scale; all of them if None.

    Raises:
        ValueError: for anything but floating-point numbers, or a bucket below 1.
    """
    check_parameters(values=values)
    flat = at_least_float32(values.flatten())  # half precision could miss the nearest point
    if bucket is None:
        bucket = flat.numel()
    check_number(least=1, whole=True, bucket=bucket)
    if missing := -len(flat) % bucket:
        flat = torch.cat([flat, flat[-1:].expand(missing)])
    grouped = flat.view(-1, bucket)
    lows = grouped.amin(1, keepdim=True)
    spans = grouped.amax(1, keepdim=True) - lows
    spans = torch.where(spans < 1e-10, torch.ones_like(spans), spans)
    return Buckets((grouped - lows) / spans, lows, spans)


def uniform(
    values: Tensor, bits: int, bucket: int | None = 256, stochastic: bool = False
) -> Tensor:
    r"""The nearest of :math:`2^b` evenly spaced points of each bucket (Polino et al. 2018).

    .. math:: Q(v) = \mathrm{sc}^{-1}\big(\mathrm{round}(s\, \mathrm{sc}(v)) / s\big), \quad s =
        2^b - 1

    Args:
        values: of any shape.
        bits: b, from 1 to 16. Both ends of a bucket are points.
        bucket: as in :func:`buckets`.
        stochastic: round down or up at random, with probabilities that preserve the expectation:
            E[Q(v)] = v. Draws from torch's random state.

    Returns:
        The quantised values, with a straight-through gradient.

    Raises:
        ValueError: for anything but floating-point numbers, or bits or a bucket out of range.

    >>> uniform(torch.tensor([0.0, 0.2, 0.4, 1.0]), bits=1)
    tensor([0., 0., 0., 1.])
    """
    check_number(least=1, most=MOST_BITS, whole=True, bits=bits)
    check_flags(stochastic=stochastic)
    with torch.no_grad():
        found, steps = buckets(values, bucket), 2**bits - 1
        place = found.scaled * steps
        near = (place + torch.rand_like(place)).floor() if stochastic else place.round()
        quantised = found.restored(near.clamp(0, steps) / steps, values)
    return straight_through(values, quantised.to(values.dtype))


def ternary(values: Tensor) -> Tensor:
    r"""Three points, one of them 0: ternary weights (Li et al. 2016, TWN).

    .. math:: Q(w) = \alpha\, \mathrm{sign}(w)\, 1[|w| > \Delta], \quad
        \Delta = \tfrac{0.7}{n} \sum_i |w_i|, \quad
        \alpha = \mathrm{mean}_{|w_i| > \Delta} |w_i|

    Given the set of nonzero weights, this alpha is the one with the least squared error.

    Args:
        values: the weights of one layer.

    Returns:
        As the values, with the gradient of the identity.

    The factor 0.7, one Delta and one alpha for a layer are those of the authors' code
    (fengfu-chris/caffe-twns, `Blob::set_delta` and `Blob::ternarize_data`).

    >>> ternary(torch.tensor([-2.0, 0.1, 0.2, 1.0]))
    tensor([-1.5000,  0.0000,  0.0000,  1.5000])
    """
    check_parameters(values=values)
    with torch.no_grad():
        sizes = values.abs()
        kept = sizes > 0.7 * sizes.mean()
        alpha = (sizes * kept).sum() / kept.sum().clamp_min(1)
        quantised = alpha * values.sign() * kept
    return straight_through(values, quantised)


def signs(values: Tensor) -> Tensor:
    r"""One bit: the sign of each weight, times the mean size of its filter (Rastegari et al. 2016).

    Args:
        values: (filters, ...) weights of a layer.

    Returns:
        As the values, with the gradient of the identity; 0 counts as positive.

    The authors' code also uses the mean of each filter (allenai/XNOR-Net, `binarizeConvParms`), but
    maps 0 to 0.

    >>> signs(torch.tensor([[-2.0, 0.0, 1.0]]))
    tensor([[-1.,  1.,  1.]])
    """
    check_parameters(values=values)
    with torch.no_grad():
        sizes = values.abs().mean()
        if values.ndim > 1:
            sizes = values.abs().flatten(1).mean(1).view(-1, *[1] * (values.ndim - 1))
        quantised = torch.where(values < 0, -sizes, sizes).expand_as(values)
    return straight_through(values, quantised)


class _Through(torch.autograd.Function):
    """The second tensor's value, with the gradient passed unchanged to the first."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, quantised: Tensor) -> Tensor:
        return quantised.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(values: Tensor, quantised: Tensor) -> Tensor:
    """Quantised numbers whose gradient passes unchanged to the original numbers.

    This is exact, unlike ``values + (quantised - values).detach()``, which rounds.
    """
    return _Through.apply(values, quantised)


class Points(nn.Module):
    r"""Learnt points for fixed weights (Polino et al. 2018, differentiable quantization).

    .. math:: Q(v, p)_i = \beta + \alpha\, p_j,\; j = \arg\min_j |\mathrm{sc}(v_i) - p_j|, \qquad
        \frac{\partial Q(v, p)_i}{\partial p_j} = \alpha_i\, 1[v_i \text{ sits on } p_j]

    Args:
        values: the weights whose points these are.
        bits: b: 2^b points for the whole tensor, on the scale of the buckets.
        bucket: as in :func:`buckets`.
        start: "quantiles" of the scaled weights, or "uniform" points.

    Departures: the authors sort the points after each step. Q does not depend on their order, so
    here they are not sorted, and each keeps its momentum. All tensors have the same number of
    points: the authors' option of giving more to layers with larger gradients is left out.
    """

    def __init__(
        self,
        values: Tensor,
        bits: int,
        bucket: int | None = 256,
        start: Literal["quantiles", "uniform"] = "quantiles",
    ) -> None:
        super().__init__()
        check_number(least=1, most=8, whole=True, bits=bits)
        check_choice(("quantiles", "uniform"), start=start)
        self.bucket = bucket
        shares = torch.linspace(0, 1, 2**bits, device=values.device)
        if start == "quantiles":
            flat = buckets(values.detach(), bucket).scaled.flatten()[: values.numel()]
            order = flat.sort().values.to(shares.dtype)
            shares = order[(shares * (len(order) - 1)).round().long()]
        self.points = nn.Parameter(shares.clone())

    def forward(self, values: Tensor) -> Tensor:
        """The weights on their points; the gradient reaches only the points."""
        with torch.no_grad():
            found = buckets(values, self.bucket)
            order = self.points.argsort()
            ranked = self.points[order]
            between = (ranked[1:] + ranked[:-1]) / 2
            nearest = order[torch.bucketize(found.scaled, between)]
        return found.restored(self.points[nearest], values).to(values.dtype)


class LearntStep(nn.Module):
    r"""A uniform quantiser whose step learns with the network: the trainable interval of QKD.

    .. math:: Q(v) = \Delta\, \mathrm{round}\big(\mathrm{clip}(v / \Delta, l, u)\big)

    The rounding passes gradients straight through, the clipping does not, so that

    .. math:: \frac{\partial Q}{\partial \Delta} = \mathrm{round}(v / \Delta) - v / \Delta
        \text{ inside, } l \text{ or } u \text{ outside.}

    Args:
        bits: b. Weights have l = -2^(b-1), u = 2^(b-1) - 1; non-negative values, such as
            activations after a ReLU, have l = 0 and u = 2^b - 1.
        signed: whether there are negative numbers.
        values: the weights, which set the initial step; None for activations, where the first batch
            sets it.

    Recalled: that QKD trains its intervals. This form, with the start 2 mean|v| / sqrt(u), is that
    of learnt step sizes (Esser et al. 2020), as a public re-implementation has it
    (zhutmost/lsq-net), which also divides the step's gradient by the root of u times the number of
    values.
    """

    def __init__(self, bits: int, signed: bool = True, values: Tensor | None = None) -> None:
        super().__init__()
        check_number(least=2 if signed else 1, most=MOST_BITS, whole=True, bits=bits)
        check_flags(signed=signed)
        self.low = -(2 ** (bits - 1)) if signed else 0
        self.high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
        self.step = nn.Parameter(torch.ones(()))
        self.register_buffer("started", torch.tensor(False))
        if values is not None:
            check_parameters(values=values)
            self.start(values)

    @torch.no_grad()
    def start(self, values: Tensor) -> None:
        """Initialise the step from sample values."""
        size = 2 * values.detach().abs().mean() / self.high**0.5
        self.step.copy_(size.clamp_min(1e-8))
        self.started.fill_(True)

    def forward(self, values: Tensor) -> Tensor:
        """The quantised values."""
        if not self.started:
            self.start(values)
        step = self.step.abs().clamp_min(1e-8)
        inside = F.hardtanh(values / step, float(self.low), float(self.high))
        return straight_through(inside, inside.detach().round()) * step
