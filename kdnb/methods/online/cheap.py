"""Cheap convolutions (Xie et al. 2019): the cheap copy learns together with the original."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.methods.online.branches import Branches, fit_branches
from kdnb.methods.online.ffl import ConcatenatedTeacher
from kdnb.training import Recipe


def cheap_convolutions(network: nn.Module, groups: int | None = None) -> nn.Module:
    """A copy in which each k x k convolution becomes a grouped one and a 1x1 one.

    Args:
        network: any network.
        groups: of the k x k convolution; None is one for each channel (depthwise). Convolutions
            that are already grouped, 1x1, or whose channels `groups` does not divide are kept.

    Returns:
        A copy whose replaced layers have new random weights.

    Departures: Xie et al. 2019 also use shifts as replacements. Their blocks stride in the 1x1
    convolution; here the k x k convolution does.
    """
    cheap = copy.deepcopy(network)
    for part in list(cheap.modules()):
        for name, conv in list(part.named_children()):
            count = conv.in_channels if groups is None and isinstance(conv, nn.Conv2d) else groups
            if _replaceable(conv, count):
                setattr(part, name, _cheap(conv, count))
    return cheap


def _replaceable(conv: nn.Module, groups: int | None) -> bool:
    return (
        isinstance(conv, nn.Conv2d)
        and conv.groups == 1
        and conv.kernel_size != (1, 1)
        and conv.in_channels > 3  # the first layer is left dense, as in the authors' code
        and conv.in_channels % groups == 0
    )


def _cheap(conv: nn.Conv2d, groups: int) -> nn.Sequential:
    inputs, outputs = conv.in_channels, conv.out_channels
    spatial = nn.Conv2d(
        inputs, inputs, conv.kernel_size, conv.stride, conv.padding, conv.dilation, groups,
        bias=False,
    )  # fmt: skip
    mixing = nn.Conv2d(inputs, outputs, 1, bias=conv.bias is not None)
    for layer in (spatial, mixing):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(spatial, mixing).to(conv.weight)


def cheap_online(
    branches: Branches,
    teacher: ConcatenatedTeacher,
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 1.0,
    temperature: float = 3.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Train cheap students and a teacher built from them on the fly (Xie et al. 2019).

    .. math:: L = H(y, p_t) + \sum_s H(y, p_s) + \mathrm{weight} \cdot T^2 \sum_s
        KL(\tilde p_t \,\|\, \tilde p_s)

    Args:
        branches: the students, e.g. of `cheap_convolutions`, split at their first child (they
            share nothing in the authors' code, four of them); trained in place with the teacher.
        temperature: T; 3 is ours, the paper's is not confirmed.
        options: passed to `training.fit`.

    Returns:
        The history: `teacher` and `students` (cross-entropies) and `soft`.

    Departures: the loss and the teacher are those of the authors' code; here the target carries no
    gradient, which could not be confirmed in that code (its divergence is defined elsewhere).
    """

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        said = networks["branches"](batch.images)
        taught = networks["teacher"](said.maps)
        students = said.logits.unbind(1)
        soft = [soft_targets(z, taught.detach(), temperature) for z in students]
        return {
            "teacher": hard_loss(taught, batch.labels),
            "students": sum(hard_loss(z, batch.labels) for z in students),
            "soft": weight * sum(soft),
        }

    networks = {"branches": branches, "teacher": teacher}
    return fit_branches(networks, examples, recipe, terms, seed=seed, **options)
