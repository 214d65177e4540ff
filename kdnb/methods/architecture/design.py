"""Students by design: thinner, shallower, depthwise-separable, fake-quantised, or just the same.

Section 4 of the survey lists kinds of students. Each can be built here from its teacher, and
`measure` compares them: parameters, multiply-adds, latency, accuracy.
"""

from __future__ import annotations

import copy
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from kdnb.data import Batches
from kdnb.nets import names
from kdnb.training.borrowed import evaluating

Spec = dict[str, Any]


def thinner(network: Spec, factor: float = 0.5) -> Spec:
    """The specification of the same network with fewer channels or units in every layer.

    >>> thinner({"name": "resnet20"}), thinner({"name": "mlp", "widths": [1200, 1200]}, 0.25)
    ({'name': 'resnet20', 'width': 0.5}, {'name': 'mlp', 'widths': [300, 300]})

    Raises:
        ValueError: for networks other than kdnb's mlp, resnet, wrn, vgg and plain, or a factor
            outside (0, 1).
    """
    if not 0 < factor < 1:
        raise ValueError(f"a thinner network needs a factor within 0 and 1; got {factor}.")
    name = network["name"]
    if name == "mlp":
        widths = [max(1, round(width * factor)) for width in network.get("widths", [1200, 1200])]
        return {**network, "widths": widths}
    if match := re.fullmatch(r"wrn-(\d+)-(\d+)", name):
        return {**network, "name": f"wrn-{match[1]}-{max(1, round(int(match[2]) * factor))}"}
    if re.fullmatch(r"(resnet|vgg|plain)\d+(x4)?", name):
        return {**network, "width": network.get("width", 1.0) * factor}
    raise ValueError(f"there is no thinner {name!r} known: build one by its own options.")


def shallower(network: Spec) -> Spec:
    """The specification of the next network with fewer layers of the same widths.

    >>> shallower({"name": "resnet20"}), shallower({"name": "wrn-16-2"})
    ({'name': 'resnet14'}, {'name': 'wrn-10-2'})

    Raises:
        ValueError: for networks other than kdnb's mlp, resnet, wrn, vgg and plain, or if there is
            none.
    """
    name = network["name"]
    if name == "mlp" and len(widths := network.get("widths", [1200, 1200])):
        return {**network, "widths": list(widths)[:-1]}
    if match := re.fullmatch(r"wrn-(\d+)-(\d+)", name):
        if int(match[1]) > 10:
            return {**network, "name": f"wrn-{int(match[1]) - 6}-{match[2]}"}
    elif match := re.fullmatch(r"(resnet|vgg|plain)(\d+)(x4)?", name):
        alike = re.compile(rf"{match[1]}(\d+){match[3] or ''}")
        depths = [int(other[1]) for other in map(alike.fullmatch, names()) if other]
        if less := [depth for depth in depths if depth < int(match[2])]:
            return {**network, "name": f"{match[1]}{max(less)}{match[3] or ''}"}
    raise ValueError(f"there is no shallower {name!r} known: build one by its own options.")


def depthwise_separable(network: nn.Module) -> nn.Module:
    """A copy whose convolutions are split in two, as in MobileNet (Howard et al. 2017).

    This is the only efficient block here: those of ShuffleNet (grouped 1x1 convolutions and a
    shuffle of the channels) or of later MobileNets are not implemented.

    A k x k convolution becomes a k x k one on each channel alone, batch normalisation, ReLU, and a
    1x1 convolution over the channels: about k² times fewer multiply-adds. The first convolution of
    the network and 1x1 or grouped ones stay, with their weights; the new ones start untrained.

    Args:
        network: any module; left as it is.

    Raises:
        ValueError: if there is no convolution to split.
    """
    student, split = copy.deepcopy(network), 0
    convolutions = [(n, m) for n, m in student.named_modules() if isinstance(m, nn.Conv2d)]
    for path, old in convolutions[1:]:
        if max(old.kernel_size) > 1 and old.groups == 1:
            student.set_submodule(path, _separable(old))
            split += 1
    if not split:
        raise ValueError(f"{type(network).__name__} has no convolution to split but the first.")
    return student


def _separable(old: nn.Conv2d) -> nn.Sequential:
    inputs, kind = old.in_channels, {"device": old.weight.device, "dtype": old.weight.dtype}
    depthwise = nn.Conv2d(
        inputs, inputs, old.kernel_size, old.stride, old.padding, old.dilation, groups=inputs,
        bias=False, **kind,
    )  # fmt: skip
    layers = OrderedDict(
        depthwise=depthwise,
        bn=nn.BatchNorm2d(inputs, **kind),
        relu=nn.ReLU(),
        pointwise=nn.Conv2d(inputs, old.out_channels, 1, bias=old.bias is not None, **kind),
    )
    return nn.Sequential(layers).train(old.training)


class FakeQuantised(nn.Module):
    r"""Weights on a grid, one step size per output channel, with straight-through gradients.

    .. math:: Q(w) = s \cdot \mathrm{round}(w / s), \quad s = \max |w| / (2^{b-1} - 1)

    Args:
        bits: b, at least 2.
    """

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        if bits < 2:
            raise ValueError(f"a signed grid needs at least 2 bits; got {bits}.")
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        """The quantised weight, (outputs, ...); its gradient is that of the weight itself."""
        largest = weight.detach().abs().flatten(1).amax(1).clamp_min(torch.finfo(weight.dtype).tiny)
        step = (largest / (2 ** (self.bits - 1) - 1)).view(-1, *[1] * (weight.ndim - 1))
        return weight + (torch.round(weight / step) * step - weight).detach()


def fake_quantised(network: nn.Module, bits: int = 8) -> nn.Module:
    """A copy of a network whose weights are rounded to a grid while it computes in floats.

    It can be trained further: a step moves the full-precision weights behind the grid (the
    straight-through estimator). Start from the trained teacher. The grid follows from the largest
    weight and is not learnt; for differentiable quantisation and quantised activations see section
    5.7 of the survey.

    Args:
        network: any module; left as it is. Weights of its Conv2d and Linear layers are quantised,
            with one step per output channel; biases, normalisations and activations are not.
        bits: the bits of a weight.

    The copy is as accurate as the integer network but not faster; `stored_bytes` counts what would
    be stored.
    """
    student = copy.deepcopy(network)
    for module in list(student.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            parametrize.register_parametrization(module, "weight", FakeQuantised(bits), unsafe=True)
    return student


def parameters(network: nn.Module) -> int:
    """The number of trainable numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def stored_bytes(network: nn.Module) -> int:
    """The size of the network on disk: its state, with quantised weights at their bits.

    A fake-quantised weight counts its bits, and four bytes for each channel's step.
    """
    total = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            grid, original = (
                module.parametrizations.weight[0],
                module.parametrizations.weight.original,
            )
            if isinstance(grid, FakeQuantised):
                total -= original.numel() * original.element_size()
                total += (original.numel() * grid.bits + 7) // 8 + 4 * len(original)
    return total


@torch.no_grad()
def multiply_adds(network: nn.Module, image: Tensor) -> int:
    """Multiplications of a forward pass on one image, each with its addition.

    Convolutions and matrix products count; normalisations, activations and pooling do not.

    Args:
        image: (channels, height, width).
    """
    with evaluating(network), FlopCounterMode(display=False) as counter:
        network(image[None])
    return counter.get_total_flops() // 2


@torch.inference_mode()
def latency(network: nn.Module, images: Tensor, *, repeats: int = 20, warm_up: int = 5) -> float:
    """The median time of a forward pass in eval mode, in seconds, on torch's own threads.

    Other work on the machine slows it down, so compare networks measured one after another.

    Args:
        images: one batch, on the device where the network is; meant for the CPU.
        repeats: the number of timed passes, after `warm_up` passes that are not timed.
    """
    times = []
    with evaluating(network):
        for _ in range(warm_up + repeats):
            started = perf_counter()
            network(images)
            times.append(perf_counter() - started)
    return median(times[warm_up:])


@torch.inference_mode()
def accuracy(network: nn.Module, batches: Batches) -> float:
    """The share of images classified correctly, on one epoch of batches."""
    with evaluating(network):
        right = [network(b.images).argmax(1) == b.labels for b in batches.epoch(0)]
    return float(torch.cat(right).double().mean())


def measure(
    networks: Mapping[str, nn.Module], batches: Batches, *, repeats: int = 20, warm_up: int = 5
) -> pd.DataFrame:
    """Compare students: a table with one row per network.

    Args:
        networks: by name, trained, on the device of the batches (the CPU for CPU latency).
        batches: un-augmented test images; the first ones are used for timing.
        repeats, warm_up: as in :func:`latency`.

    Returns:
        Columns `parameters`, `bytes`, `multiply_adds` (of one image), `latency_1` and `latency_128`
        (milliseconds for a batch of 1 and of 128), `accuracy`, and `pareto`: whether no other row
        is at least as accurate with at most as many multiply-adds. `table.attrs["threads"]` is the
        number of threads used for timing.
    """
    images = next(batches.epoch(0)).images
    many = images.repeat(-(-128 // len(images)), 1, 1, 1)[:128]
    rows = {}
    for name, network in networks.items():
        rows[name] = {
            "parameters": parameters(network),
            "bytes": stored_bytes(network),
            "multiply_adds": multiply_adds(network, images[0]),
            "latency_1": 1e3 * latency(network, images[:1], repeats=repeats, warm_up=warm_up),
            "latency_128": 1e3 * latency(network, many, repeats=repeats, warm_up=warm_up),
            "accuracy": accuracy(network, batches),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["pareto"] = pareto(table, smaller=["multiply_adds"], larger=["accuracy"])
    table.attrs["threads"] = torch.get_num_threads()
    return table


def pareto(table: pd.DataFrame, smaller: Sequence[str], larger: Sequence[str]) -> pd.Series:
    """The rows that no other row dominates.

    A row dominates another when it is at least as good in every column and better in one; equal
    rows do not dominate each other.

    Args:
        smaller, larger: columns in which less, or more, is better.

    >>> table = pd.DataFrame({"cost": [1, 2, 3], "accuracy": [0.7, 0.9, 0.8]})
    >>> pareto(table, ["cost"], ["accuracy"]).tolist()
    [True, True, False]
    """
    if not [*smaller, *larger]:
        raise ValueError("name at least one column in which rows may be better.")
    costs = pd.concat([table[list(smaller)], -table[list(larger)]], axis=1).to_numpy(float)
    atleast = (costs[:, None] <= costs[None]).all(2)
    better = (costs[:, None] < costs[None]).any(2)
    return pd.Series(~(atleast & better).any(0), index=table.index, name="pareto")
