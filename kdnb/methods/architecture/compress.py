"""Compression without a teacher: pruning, sharing and low rank, and the storage they need.

The survey's introduction names four families. `pruned` and `shared` are the first (pruning and
sharing), `factorised` the second (low rank); compact filters are
`kdnb.methods.architecture.depthwise_separable`, and the fourth is distillation. Every copy can be
trained further, on labels or by `kdnb.distil`: pruned weights stay 0, shared weights stay shared,
and the rank stays the same.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

INDEX_BITS = 16  # for the index of a kept weight
WORD = 32  # bits of a number


class Masked(nn.Module):
    """Weights with a fixed pattern of zeros."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight where it was kept, 0 elsewhere; so is its gradient."""
        return weight * self.mask


class Codebook(nn.Module):
    """Weights that share few values: only the values are learnt, the assignment is fixed."""

    def __init__(self, places: Tensor, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places)
        self.values = len(values)
        self._first = values

    def forward(self, values: Tensor) -> Tensor:
        """The weight, built from the values; a value's gradient is the sum over its entries."""
        return values[self.places]

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The values that stand for a weight, when the parametrisation is registered."""
        return self._first.to(weight)


def pruned(network: nn.Module, keep: float) -> nn.Module:
    """A copy without its smallest weights (magnitude pruning over all layers together).

    Args:
        network: any module; left unchanged. Weights of its Conv2d and Linear layers are pruned,
            biases and normalisations are not.
        keep: the share of weights to keep, between 0 and 1.

    Raises:
        ValueError: for a share outside (0, 1], or a network without such layers.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is the share of weights that stay, within 0 and 1; got {keep}.")
    student = copy.deepcopy(network)
    layers = _layers(student)
    sizes = torch.cat([layer.weight.detach().abs().flatten() for layer in layers])
    kept = max(1, round(keep * len(sizes)))
    mask = torch.zeros_like(sizes, dtype=torch.bool)
    mask[sizes.topk(kept).indices] = True
    parts = mask.split([layer.weight.numel() for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        parametrize.register_parametrization(
            layer, "weight", Masked(part.view_as(layer.weight)), unsafe=True
        )
    return student


def shared(network: nn.Module, bits: int, *, rounds: int = 30) -> nn.Module:
    r"""A copy in which the weights of a layer share :math:`2^b` values, found by k-means.

    Args:
        network: any module; left unchanged. Weights of its Conv2d and Linear layers are shared,
            biases and normalisations are not.
        bits: b, of the index that is stored for a weight.
        rounds: iterations of k-means, which starts from evenly spread values.

    Raises:
        ValueError: for fewer than one bit or more than 8, or a network without such layers.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"an index has 1 to 8 bits; got {bits}.")
    student = copy.deepcopy(network)
    for layer in _layers(student):
        weight = layer.weight.detach()
        values = torch.linspace(weight.min(), weight.max(), 2**bits, dtype=weight.dtype)
        for _ in range(rounds):
            places = _nearest(weight, values)
            sums = torch.zeros_like(values).scatter_add_(0, places.flatten(), weight.flatten())
            count = places.flatten().bincount(minlength=len(values))
            values = torch.where(count > 0, sums / count.clamp_min(1), values)
        book = Codebook(_nearest(weight, values), values)
        parametrize.register_parametrization(layer, "weight", book, unsafe=True)
    return student


def factorised(network: nn.Module, part: float) -> nn.Module:
    r"""A copy whose layers are products of two thinner ones, the best approximations of their rank.

    A weight :math:`W` of m outputs and n inputs becomes :math:`U_r S_r V_r^\top` by its singular
    values, r(m + n) numbers in place of mn. A convolution is treated as a matrix of outputs against
    channels and kernel positions: it becomes a convolution to r channels and a 1x1 convolution.
    Every layer gets at least rank 1. The rest of the budget is given out one singular value at a
    time, to the layer where it raises the product over all layers of the kept shares of
    :math:`\|W\|_F^2` most per stored number. A layer in which a product saves nothing is left
    unchanged.

    Args:
        network: any module; left as it is.
        part: the share of the number of weights that all factors together may take, except that
            rank 1 is always kept.

    Raises:
        ValueError: for a share outside (0, 1), or a network without such layers.
    """
    if not 0 < part < 1:
        raise ValueError(f"part is a share of the numbers, within 0 and 1; got {part}.")
    student = copy.deepcopy(network)
    _layers(student)
    plain = {
        path: layer
        for path, layer in student.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and getattr(layer, "groups", 1) == 1
    }
    for path, rank in _ranks(
        {n: m.weight.detach().flatten(1) for n, m in plain.items()}, part
    ).items():
        outputs, inputs = plain[path].weight.flatten(1).shape
        if rank * (outputs + inputs) < outputs * inputs:
            student.set_submodule(path, _two_of(plain[path], rank))
    return student


def _ranks(weights: dict[str, Tensor], part: float) -> dict[str, int]:
    """The number of singular values that each weight keeps within a common budget."""
    left = part * sum(weight.numel() for weight in weights.values())
    energy = {
        name: torch.linalg.svdvals(w.double()).square().cumsum(0) for name, w in weights.items()
    }
    cost = {name: sum(weight.shape) for name, weight in weights.items()}
    ranks = dict.fromkeys(weights, 1)
    left -= sum(cost.values())

    def worth(name: str) -> float:
        """The gain per number from one more singular value, for the product of kept shares."""
        kept, more = (float(energy[name][rank]) for rank in (ranks[name] - 1, ranks[name]))
        return math.log(more / kept) / cost[name] if kept > 0 else 0.0

    while True:
        fitting = [
            name
            for name, weight in weights.items()
            if cost[name] <= left and (ranks[name] + 1) * cost[name] < weight.numel()
        ]
        if not fitting:
            return ranks
        best = max(fitting, key=worth)
        ranks[best] += 1
        left -= cost[best]


def compressed_bytes(network: nn.Module) -> int:
    """The storage of a network: its state at 32 bits per number, less what compression saves.

    A pruned weight takes nothing, a kept one 32 bits and 16 for its index; a shared weight takes
    the bits of its index, a codebook its values.
    """
    bits = sum(WORD * value.numel() for value in network.state_dict().values())
    for module in network.modules():
        if not parametrize.is_parametrized(module, "weight"):
            continue
        one, original = (
            module.parametrizations.weight[0], module.parametrizations.weight.original,
        )  # fmt: skip
        if isinstance(one, Masked):  # the state has the weight and its mask
            bits -= 2 * WORD * original.numel()
            bits += (WORD + INDEX_BITS) * int(one.mask.sum())
        elif isinstance(one, Codebook):
            bits -= WORD * one.places.numel()
            bits += one.places.numel() * max(1, (one.values - 1).bit_length())
    return (bits + 7) // 8


def _layers(network: nn.Module) -> list[nn.Module]:
    found = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if not found:
        raise ValueError(f"{type(network).__name__} has no Conv2d or Linear to compress.")
    return found


def _nearest(weight: Tensor, values: Tensor) -> Tensor:
    return (weight[..., None] - values).abs().argmin(-1)


def _two_of(layer: nn.Conv2d | nn.Linear, rank: int) -> nn.Sequential:
    weight = layer.weight.detach()
    kind = {"device": weight.device, "dtype": weight.dtype}
    u, s, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    outer, inner = u[:, :rank] * s[:rank].sqrt(), s[:rank].sqrt()[:, None] * v[:rank]
    has_bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        first = nn.Linear(layer.in_features, rank, bias=False, **kind)
        second = nn.Linear(rank, layer.out_features, bias=has_bias, **kind)
    else:
        first = nn.Conv2d(
            layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            bias=False, padding_mode=layer.padding_mode, **kind,
        )  # fmt: skip
        second = nn.Conv2d(rank, layer.out_channels, 1, bias=has_bias, **kind)
    with torch.no_grad():
        first.weight.copy_(inner.view_as(first.weight))
        second.weight.copy_(outer.view_as(second.weight))
        if has_bias:
            second.bias.copy_(layer.bias)
    return nn.Sequential(first, second).train(layer.training)


def kept_weights(network: nn.Module) -> Iterator[tuple[str, int, int]]:
    """For each pruned layer: its name, the number of weights kept, and the number before."""
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            one = module.parametrizations.weight[0]
            if isinstance(one, Masked):
                yield name, int(one.mask.sum()), one.mask.numel()
