"""Widths by gradient descent (Gu and Tresp 2020): penalised gates on channels, with a teacher.

The student starts at its largest width. A gate multiplies each channel, and the L1 norm of all
gates is added to the distillation loss: training weights and gates together finds which channels
the teacher's answers need.

Recalled: how the paper places its choice within the teacher's graph; its abstract was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import gate_penalty, soft_targets
from kdnb.losses.checks import check_number
from kdnb.methods.architecture.design import parameters
from kdnb.methods.multi_teacher.common import learn
from kdnb.methods.nas.space import Architecture, ConvNet, Layer
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.quantized.common import check_first
from kdnb.methods.teachers import check_teachers
from kdnb.training import Fit, Recipe
from kdnb.training.first import check_finite_weights
from kdnb.training.inputs import batches_for


def gates_of(network: ConvNet) -> list[nn.Parameter]:
    """The gates of a network built with gates, (channels,) for each layer.

    Raises:
        ValueError: for a network without gates.
    """
    if not isinstance(network, ConvNet) or not all(hasattr(s, "gate") for s in network.stages()):
        raise ValueError("this network has no gates: give ConvNet(architecture, ..., gates=True).")
    return [stage.gate.factor for stage in network.stages()]


def channel_costs(
    architecture: Sequence[Layer], *, num_classes: int = 10, in_channels: int = 1
) -> list[float]:
    """The parameters of one channel of each layer: those that compute it and those that read it.

    >>> channel_costs((Layer(8), Layer(4, kernel=1)), num_classes=10)
    [15.0, 20.0]
    """
    given = [in_channels, *(layer.channels for layer in architecture)]
    costs = []
    for n, layer in enumerate(architecture):
        reads = num_classes
        if n + 1 < len(architecture):
            reads = architecture[n + 1].channels * architecture[n + 1].kernel ** 2
        made = given[n] * layer.kernel**2 + (2 if layer.norm else 1)
        costs.append(float(made + reads))
    return costs


def search_widths(
    network: ConvNet,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    penalty: float = 1.0,
    temperature: float = 4.0,
    label_weight: float = 1.0,
    soft_weight: float = 1.0,
    seed: int = 0,
    **fields: Any,
) -> Fit:
    r"""Train a network's weights and gates with a teacher and a penalty on gates.

    .. math:: L = w_{label} H(\mathbf 1_y, q) + w_{soft}\, T^2\, \mathrm{KL}(p \,\|\, q) + \gamma\,
        \Omega(\beta)

    Args:
        network: built with gates; trained in place.
        teacher: frozen.
        data, recipe, seed, fields: as in `kdnb.distil`.
        penalty: gamma, of :func:`kdnb.losses.gate_penalty` with the costs of :func:`channel_costs`.
            It should exceed the value of a channel for many channels, but not for all.
        temperature: T.
        label_weight, soft_weight: weights of the labels and of the teacher; with `soft_weight=0`
            the teacher is ignored, the control.

    Returns:
        The history, with `soft`, `gates` and `hard`; the network, as `fit.networks["student"]`.
        :func:`narrowed` then chooses the channels to keep.

    Raises:
        ValueError: for a network without gates, or as `kdnb.distil`.
    """
    recipe = recipe_of(search_widths, recipe, fields)
    check_teachers("search_widths", network, [teacher])
    gates = gates_of(network)
    check_number(above=0, temperature=temperature)
    check_number(least=0, penalty=penalty)
    costs = channel_costs(
        network.architecture, num_classes=network.head.out_features,
        in_channels=network.stage1.conv.in_channels,
    )  # fmt: skip
    check_weights_of_terms(label_weight=label_weight, soft_weight=soft_weight)
    batches = batches_for(data, recipe, seed, "classes" if label_weight else "none", given=fields)
    heard = teacher if soft_weight else None
    check_first(batches, seed, network, heard, labels=bool(label_weight))

    def terms(batch: Batch, ours: Tensor, theirs: list[Tensor]) -> dict[str, Tensor]:
        found = {"gates": penalty * gate_penalty(gates, costs)}
        if soft_weight:
            found["soft"] = soft_weight * soft_targets(ours, theirs[0], temperature)
        return found

    about = {"verb": "search_widths", "penalty": penalty, "temperature": temperature, "soft_weight": soft_weight}  # fmt: skip
    return learn(
        network, [teacher], batches, recipe, terms, label_weight=label_weight, seed=seed,
        about=about,
    )  # fmt: skip


def narrowed(network: ConvNet, limit: int) -> Architecture:
    """The architecture after removing channels with the smallest gates until it is small enough.

    Every layer keeps at least one channel.

    Args:
        network: with gates, after :func:`search_widths`.
        limit: parameters of the whole network without its gates.

    Raises:
        ValueError: if one channel per layer is already too many, or for gates that are NaN.
    """
    check_number(least=1, whole=True, limit=limit)
    check_finite_weights("the network", network)
    classes, channels = network.head.out_features, network.stage1.conv.in_channels

    def size(widths: Sequence[int]) -> int:
        layers = _wide(network.architecture, widths)
        with torch.device("meta"):
            return parameters(ConvNet(layers, num_classes=classes, in_channels=channels))

    gates = [gate.detach().abs().tolist() for gate in gates_of(network)]
    widths = [len(one) for one in gates]
    order = sorted((value, n) for n, one in enumerate(gates) for value in one)
    for _, layer in order:
        if size(widths) <= limit:
            break
        widths[layer] = max(1, widths[layer] - 1)
    if size(widths) > limit:
        raise ValueError(f"limit={limit} is below {size(widths)}, the parameters of one channel in each layer.")  # fmt: skip
    return _wide(network.architecture, widths)


def _wide(architecture: Architecture, widths: Sequence[int]) -> Architecture:
    return tuple(
        replace(layer, channels=width) for layer, width in zip(architecture, widths, strict=True)
    )
