"""Knowledge Flow (Liu et al. 2019): teacher layers flow into the student, then fade out.

A student layer's output becomes a mixture of its own output and of transformed teacher layers, with
weights that sum to 1. A growing loss on these weights drives the student's own share to 1. In the
end the student is independent, whatever the teachers' architectures and tasks.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data import Batch
from kdnb.losses import hard_loss, soft_targets
from kdnb.losses.checks import at_least_float32, check_number
from kdnb.nets import constrain, features
from kdnb.training import Recipe, Update, fit
from kdnb.training.borrowed import evaluating
from kdnb.training.inputs import batches_for

Routes = Mapping[str, Sequence[tuple[int, str]]]


def dependence(shares: Sequence[Tensor]) -> Tensor:
    r"""How much a student depends on its teachers.

    .. math:: L_{dep} = -\sum_l \log w^l_0

    with the share w of each student layer's own output, the first of its normalised weights (Liu
    et al. 2019).

    Args:
        shares: for each student layer (1 + teacher layers,) normalised weights, the own one first.

    Returns:
        A scalar, at least 0; 0 exactly when every layer takes nothing from a teacher.

    Raises:
        ValueError: without layers, or for weights that are not normalised.

    >>> dependence([torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])])
    tensor(0.6931)
    """
    if not shares:
        raise ValueError("there is no layer that anything flows into.")
    for share in shares:
        if share.ndim != 1 or abs(float(share.detach().sum()) - 1) > 1e-4:
            raise ValueError(f"shares must be one vector that sums to 1 each layer; got {share}.")
    return -sum(at_least_float32(share)[0].log() for share in shares)


class KnowledgeFlow(nn.Module):
    r"""A student into whose layers teachers flow.

    .. math:: \tilde h^l = w^l_0 h^l + \sum_i w^l_i\, Q^l_i(t_i), \quad w^l = \mathrm{softmax}(a^l)

    Q is a trainable 1x1 convolution (linear for vectors) after pooling to the student's size.

    Args:
        student: hooks read and replace its layers while this module runs; it remains usable on its
            own.
        teachers: used to find the sizes of their layers; they are not part of this module.
        routes: for each student path, the (teacher index, teacher path) of all layers that may flow
            into it.
        images: example images, to find the sizes.

    Raises:
        ValueError: for an unknown path, or a route from vectors to maps or the other way round.

    Departures: Q and the normalised weights are confirmed by summaries of the paper. Matching sizes
    by average pooling or nearest neighbours is ours.
    """

    def __init__(
        self, student: nn.Module, teachers: Sequence[nn.Module], routes: Routes, images: Tensor
    ) -> None:
        super().__init__()
        self.student, self.routes = student, {k: list(v) for k, v in routes.items()}
        with torch.no_grad():
            sizes = {path: maps.shape for path, maps in _looked(student, list(routes), images)}
            taught = teacher_maps(teachers, self.routes, images)
        self.transforms, self.mixing = nn.ModuleList(), nn.ParameterList()
        for path, sources in self.routes.items():
            layers = [_transform(taught[source], sizes[path], path) for source in sources]
            self.transforms.append(nn.ModuleList(layers))
            self.mixing.append(nn.Parameter(torch.zeros(1 + len(sources))))

    def shares(self) -> dict[str, Tensor]:
        """The normalised weights of each student layer, its own first."""
        mixing = zip(self.routes, self.mixing, strict=True)
        return {path: F.softmax(weights, 0) for path, weights in mixing}

    def forward(
        self, images: Tensor, taught: Mapping[tuple[int, str], Tensor] | None = None
    ) -> Tensor:
        """The student's logits, with or without the teachers' layers flowing into it.

        Args:
            images: (batch, channels, height, width).
            taught: from :func:`teacher_maps`, of the same images; None when nothing flows.
        """
        if taught is None:
            return self.student(images)
        with ExitStack() as stack:
            parts = zip(self.routes, self.transforms, self.shares().values(), strict=True)
            for path, transforms, share in parts:
                sources = [taught[source] for source in self.routes[path]]
                hook = _mixer(transforms, share, sources)
                layer = self.student.get_submodule(path)
                stack.callback(layer.register_forward_hook(hook).remove)
            return self.student(images)


def _mixer(transforms: nn.ModuleList, share: Tensor, sources: list[Tensor]):
    def mix(module: nn.Module, given: Any, own: Tensor) -> Tensor:
        mixed = share[0] * own
        for weight, transform, source in zip(share[1:], transforms, sources, strict=True):
            if own.ndim == 4 and source.shape[2:] != own.shape[2:]:
                source = _resized(source, own.shape[2:])
            mixed = mixed + weight * transform(source)
        return mixed

    return mix


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    larger = all(new <= old for new, old in zip(size, maps.shape[2:], strict=True))
    return F.adaptive_avg_pool2d(maps, size) if larger else F.interpolate(maps, size=tuple(size))


def _transform(source: Tensor, size: torch.Size, path: str) -> nn.Module:
    if source.ndim != len(size) or source.ndim not in (2, 4):
        raise ValueError(
            f"a layer of shape {tuple(source.shape)} cannot flow into {path} of shape "
            f"{tuple(size)}: take maps for maps and vectors for vectors."
        )
    if source.ndim == 4:
        return nn.Conv2d(source.shape[1], size[1], 1, bias=False)
    return nn.Linear(source.shape[1], size[1], bias=False)


def teacher_maps(
    teachers: Sequence[nn.Module], routes: Routes, images: Tensor
) -> dict[tuple[int, str], Tensor]:
    """The teacher layers that the routes need, by (index, path), in float32 without gradients."""
    found = {}
    for number, teacher in enumerate(teachers):
        sources = (source for into in routes.values() for source in into)
        paths = sorted({path for which, path in sources if which == number})
        if paths:
            with torch.no_grad():
                looked = _looked(teacher, paths, images)
            found |= {(number, path): maps.float() for path, maps in looked}
    if missing := [s for into in routes.values() for s in into if s not in found]:
        raise ValueError(
            f"a route comes from {missing[0]}, but there are {len(teachers)} teachers."
        )
    return found


def _looked(network: nn.Module, paths: list[str], images: Tensor) -> list[tuple[str, Tensor]]:
    with features(network, paths) as maps:
        network(images)
    return [(path, maps[path]) for path in paths]


def learn_from_flow(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    routes: Routes,
    dependence_weight: float = 1.0,
    drift_weight: float = 0.05,
    independent_from: float = 0.9,
    seed: int = 0,
    **options: Any,
) -> tuple[KnowledgeFlow, list[dict[str, float]]]:
    r"""Train a student through Knowledge Flow until it is independent of its teachers.

    .. math:: L = H(y, q) + \lambda_1(e)\, L_{dep} + \lambda_2\, KL(q_{old} \,\|\, q),
        \quad \lambda_1 \text{ rising from } 0

    The last term keeps the student's answers from jumping as the teachers' influence fades: q_old
    is the student's answer, with the flow of that time, before this epoch.

    Args:
        student: trained in place; afterwards it is independent.
        teachers: trained on any task; frozen. Their outputs are not used, only their layers.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        routes: for each student path, the (teacher index, teacher path) of layers that may flow
            there.
        dependence_weight: lambda_1 at the end of the flow; it grows linearly with the epochs.
        drift_weight: lambda_2, from the second epoch to the end of the flow.
        independent_from: the share of the run after which nothing flows and the student trains
            alone; 1 for never.
        options: passed to `training.fit`; `evaluate` sees the `flow`, whose `student` is the
            student.

    Returns:
        The flow, whose `shares()` tell what was taken from whom, and the history with the terms
        `hard`, `dependence` and `drift` and the value `own_share`, the smallest of the student's
        own.

    Raises:
        ValueError: for impossible routes, a share outside (0, 1] or a negative weight.

    Departures: summaries of the paper confirm a Kullback-Leibler regulariser in addition to the
    dependence loss; its form and direction are recalled. The weight is ours, and so is the choice
    of the old parameters: those at the start of an epoch, since at those of the previous step the
    term has no gradient. The last epochs without flow are also ours; they make the student exactly
    independent even if its share has not quite reached 1.
    """
    check_number(least=0, dependence_weight=dependence_weight, drift_weight=drift_weight)
    if not 0 < independent_from <= 1:
        raise ValueError(f"independent_from must lie in (0, 1]; got {independent_from}.")
    batches = batches_for(examples, recipe, seed)
    images = next(batches.epoch(0)).images[:2]
    everyone = [student, *teachers]
    for network in everyone:
        network.to(images.device)
    # Two images must not move a batch normalisation.
    with evaluating(*everyone), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = KnowledgeFlow(student, teachers, routes, images).to(images.device)
    last = max(1, round(independent_from * recipe.epochs))
    weight, flows = 0.0, True
    old: KnowledgeFlow | None = None

    def begin(epoch: int) -> None:
        nonlocal weight, flows, old
        weight, flows = dependence_weight * min(1.0, (epoch + 1) / last), epoch < last
        old = copy.deepcopy(flow) if drift_weight and flows and epoch else None

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        taught = teacher_maps(teachers, flow.routes, batch.images) if flows else None
        logits = networks["flow"](batch.images, taught)
        hard = hard_loss(logits, batch.labels)
        leaning = dependence(list(flow.shares().values())) if flows else torch.zeros_like(hard)
        drift = torch.zeros_like(hard)
        if old is not None:
            with torch.no_grad():
                before = old(batch.images, taught)
            drift = soft_targets(logits, before, 1.0)
        return {"hard": hard, "dependence": weight * leaning, "drift": drift_weight * drift}

    look = options.pop("evaluate", None)

    def evaluate(networks) -> dict[str, float]:
        own = min(share[0].item() for share in flow.shares().values())
        return {"own_share": own, **(look(networks) if look else {})}

    update = Update(("flow",), terms, after=lambda: constrain(student), begin=begin)
    named = {f"teacher{number}": teacher for number, teacher in enumerate(teachers)}
    networks = {"flow": flow, **named}
    history = fit(networks, batches, update, recipe, seed=seed, evaluate=evaluate, **options)
    return flow, history
