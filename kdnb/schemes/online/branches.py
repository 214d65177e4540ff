"""One network with several branches: what they are, and ONE, whose gate makes the teacher."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import soft_targets
from kdnb.nets.mlp import constrain
from kdnb.schemes.offline import batches_for, hard_loss
from kdnb.schemes.online._common import Ramp
from kdnb.training import Losses, Networks, Recipe, Update, fit


class Branched(NamedTuple):
    """What a `Branches` gives for a batch.

    Attributes:
        logits: (batch, branches, classes).
        shared: the stem's output, which every branch starts from.
        maps: of each branch, its last four-dimensional value before the classifier; its
            `features` where there is none.
        features: of each branch, what its classifier sees.
    """

    logits: Tensor
    shared: Tensor
    maps: list[Tensor]
    features: list[Tensor]


class Branches(nn.Module):
    """A shared stem and several heads.

    Args:
        stem: images -> what every head starts from.
        heads: `nn.Sequential`s whose last part is the classifier. They may differ.

    Raises:
        TypeError: for a head that is no `nn.Sequential`.
    """

    def __init__(self, stem: nn.Sequential, *heads: nn.Sequential):
        super().__init__()
        for part in (stem, *heads):
            if not isinstance(part, nn.Sequential):
                raise TypeError(f"stem and heads are nn.Sequential; got {type(part).__name__}.")
        self.stem, self.heads = stem, nn.ModuleList(heads)

    @classmethod
    def split(cls, networks: Sequence[nn.Module], at: str, example: Tensor) -> Branches:
        """One stem, of the first network, and the heads of all.

        Args:
            networks: each a chain of its children in the order in which they are registered, as
                kdnb's networks are (LeNet-5 on 28x28 images, which pads first, is not).
            at: the child from which on the branches go their own ways; the first child's name
                gives separate networks.
            example: a batch of images, on which each chain is compared with its network.

        Raises:
            ValueError: for an unknown child, a network that is no chain of its children, or heads
                that do not fit on the stem.
        """
        if not networks:
            raise ValueError("branches are made of at least one network; got none.")
        parts = [_sections(network, at, example) for network in networks]
        return cls(parts[0][0], *(head for _, head in parts))

    def forward(self, images: Tensor) -> Branched:
        shared = self.stem(images)
        logits, maps, features = [], [], []
        for head in self.heads:
            value = last = shared
            for part in list(head)[:-1]:
                value = part(value)
                last = value if value.ndim == 4 else last
            maps.append(last if last.ndim == 4 else value)
            features.append(value)
            logits.append(head[-1](value))
        return Branched(torch.stack(logits, 1), shared, maps, features)

    def deployed(self, branch: int = 0) -> nn.Sequential:
        """One branch on its stem, alone.

        Its parameters have the names of the network that it was split from; where stem and
        head were made by hand of parts of the same names, they are called `stem` and `head`.
        """
        stem, head = dict(self.stem.named_children()), dict(self.heads[branch].named_children())
        if stem.keys() & head.keys():
            stem, head = {"stem": self.stem}, {"head": self.heads[branch]}
        return nn.Sequential(OrderedDict({**stem, **head}))


def _sections(network: nn.Module, at: str, example: Tensor) -> tuple[nn.Sequential, nn.Sequential]:
    children = list(network.named_children())
    names = [name for name, _ in children]
    if at not in names:
        raise ValueError(f"{at!r} is no child of this network: it has {', '.join(names)}.")
    place = names.index(at)
    stem = nn.Sequential(OrderedDict(children[:place]))
    head = nn.Sequential(OrderedDict(children[place:]))
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            chained = torch.equal(head(stem(example)), network(example))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"the network is no chain of its children {names}: {error}") from error
    finally:
        network.train(training)
    if not chained:
        raise ValueError(f"the network is no chain of its children {names}: split it by hand.")
    return stem, head


class Gate(nn.Module):
    """ONE's gate: how much each branch counts for an image (Lan et al. 2018, section 3.1).

    A linear layer on the spatial mean of the stem's output, batch normalisation, ReLU, softmax
    (as in the authors' code).

    Args:
        channels: of the stem's output.
        branches: gated.
    """

    def __init__(self, channels: int, branches: int):
        super().__init__()
        self.linear = nn.Linear(channels, branches)
        self.bn = nn.BatchNorm1d(branches)

    def forward(self, shared: Tensor) -> Tensor:
        """(batch, channels, height, width) or (batch, channels) -> (batch, branches), sum 1."""
        mean = shared.flatten(2).mean(2) if shared.ndim > 2 else shared
        return self.bn(self.linear(mean)).relu().softmax(1)


class GatedBranches(nn.Module):
    """Branches under a gate as one classifier (ONE-E): images -> the gated sum of the logits."""

    def __init__(self, branches: Branches, gate: Gate):
        super().__init__()
        self.branches, self.gate = branches, gate

    def forward(self, images: Tensor) -> Tensor:
        said = self.branches(images)
        return gated(said.logits, self.gate(said.shared))


def gated(logits: Tensor, gate: Tensor) -> Tensor:
    r"""The teacher of ONE: :math:`z_e = \sum_i g_i z_i`, (batch, branches, classes) -> (batch,
    classes)."""
    return (gate.unsqueeze(2) * logits).sum(1)


def fit_branches(
    networks: Networks,
    examples: Any,
    recipe: Recipe,
    terms: Losses,
    *,
    seed: int,
    begin: Callable[[int], None] | None = None,
    **options: Any,
) -> list[dict[str, float]]:
    """Train the network called `branches`, and all that stand beside it, by one loss."""
    update = Update(
        tuple(networks), terms, after=lambda: constrain(networks["branches"]), begin=begin
    )
    batches = batches_for(examples, recipe, seed)
    return fit(networks, batches, update, recipe, seed=seed, **options)


def one(
    branches: Branches,
    gate: Gate,
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 1.0,
    temperature: float = 3.0,
    ramp_up: int = 0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""On-the-fly native ensemble, ONE (Lan, Zhu and Gong 2018, equation 8).

    .. math:: L = \sum_i H(y, p_i) + H(y, p_e)
        + w\, T^2 \sum_i KL(\tilde p_e \,\|\, \tilde p_i), \quad z_e = \sum_i g_i z_i

    The teacher e gets no gradient from the divergence: the gate learns from the labels alone (the
    authors' code).

    Args:
        branches, gate: trained in place; `branches.deployed(i)` is one of the equal students
            afterwards, `GatedBranches(branches, gate)` their ensemble.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label).
        weight: w of the divergence.
        temperature: T, 3 in the paper.
        ramp_up: epochs in which w climbs (`ramp_up`); 80 of 300 in the authors' scripts.
        options: of `training.fit`.

    Returns:
        The history: `branches` and `ensemble` (cross-entropies) and `soft`.
    """
    ramp = Ramp(weight, ramp_up)

    def terms(networks, batch: Batch) -> dict[str, Tensor]:
        said = networks["branches"](batch.images)
        teacher = gated(said.logits, networks["gate"](said.shared))
        soft = [soft_targets(z, teacher.detach(), temperature) for z in said.logits.unbind(1)]
        return {
            "branches": sum(hard_loss(z, batch.labels) for z in said.logits.unbind(1)),
            "ensemble": hard_loss(teacher, batch.labels),
            "soft": ramp.now * sum(soft),
        }

    networks = {"branches": branches, "gate": gate}
    return fit_branches(networks, examples, recipe, terms, seed=seed, begin=ramp.begin, **options)
