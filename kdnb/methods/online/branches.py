"""Networks with several branches: making them from networks, and training them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdnb.nets import constrain
from kdnb.training import Losses, Networks, Recipe, Update, fit
from kdnb.training.borrowed import evaluating
from kdnb.training.inputs import batches_for


class Branched(NamedTuple):
    """The output of `Branches` for a batch.

    Attributes:
        logits: (batch, branches, classes).
        shared: the stem's output, which every branch starts from.
        maps: for each branch, its last four-dimensional value before the classifier; its `features`
            if there is none.
        features: for each branch, the input of its classifier.
    """

    logits: Tensor
    shared: Tensor
    maps: list[Tensor]
    features: list[Tensor]


class Branches(nn.Module):
    """A shared stem and several heads.

    Args:
        stem: images -> the input of every head.
        heads: `nn.Sequential`s whose last part is the classifier. They may differ.

    Raises:
        TypeError: for a head that is not an `nn.Sequential`.
    """

    def __init__(self, stem: nn.Sequential, *heads: nn.Sequential):
        super().__init__()
        for part in (stem, *heads):
            if not isinstance(part, nn.Sequential):
                raise TypeError(f"stem and heads are nn.Sequential; got {type(part).__name__}.")
        self.stem, self.heads = stem, nn.ModuleList(heads)

    @classmethod
    def split(cls, networks: Sequence[nn.Module], at: str, example: Tensor) -> Branches:
        """Split networks into one stem, from the first network, and the heads of all.

        Args:
            networks: each a chain of its children in the order in which they are registered, as
                kdnb's networks are (LeNet-5 on 28x28 images, which pads first, is not).
            at: the child at which the branches start; the first child's name gives separate
                networks.
            example: a batch of images, on which each chain is compared with its network.

        Raises:
            ValueError: for an unknown child, a network that is not a chain of its children, or
                heads that do not fit the stem.
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
        """A single branch with its stem.

        Its parameters have the names of the network from which it was split. If stem and head were
        built by hand from parts with the same names, they are called `stem` and `head`.
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
    try:
        with evaluating(network), torch.no_grad():
            chained = torch.equal(head(stem(example)), network(example))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"the network is no chain of its children {names}: {error}") from error
    if not chained:
        raise ValueError(f"the network is no chain of its children {names}: split it by hand.")
    return stem, head


def fit_branches(
    networks: Networks,
    examples: Any,
    recipe: Recipe,
    terms: Losses,
    *,
    seed: int,
    begin: Callable[[int], None] | None = None,
    moved: Sequence[str] | None = None,
    **options: Any,
) -> list[dict[str, float]]:
    """Train the network called `branches`, and those used with it, by one loss.

    Args:
        moved: the names of the networks to train; all if None.
    """
    update = Update(
        tuple(networks if moved is None else moved),
        terms,
        after=lambda: constrain(networks["branches"]),
        begin=begin,
    )
    batches = batches_for(examples, recipe, seed)
    return fit(networks, batches, update, recipe, seed=seed, **options)
