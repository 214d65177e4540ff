"""Deep mutual learning (Zhang et al. 2018): peers that learn from one another's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import soft_targets
from kdnb.nets.mlp import constrain
from kdnb.schemes.offline import batches_for, hard_loss
from kdnb.schemes.online._common import asked, check_networks, constrain_all
from kdnb.schemes.online.measures import ensemble_log_probabilities
from kdnb.training import Recipe, Update, fit

Target = Literal["peers", "ensemble", "mean_logits"]
Order = Literal["sequential", "simultaneous"]
TARGETS, ORDERS = ("peers", "ensemble", "mean_logits"), ("sequential", "simultaneous")


def mutual_loss(
    logits: Tensor, peers: Sequence[Tensor], target: Target = "peers", temperature: float = 1.0
) -> Tensor:
    r"""How far one network is from its peers (Zhang et al. 2018, section 3.2).

    - ``peers``: :math:`\frac{T^2}{K-1} \sum_{l \ne k} KL(p_l \| p_k)`;
    - ``ensemble`` (DML_e): :math:`T^2\, KL\big(\frac{1}{K-1} \sum_{l \ne k} p_l \,\|\, p_k\big)`;
    - ``mean_logits``: the peers' logits are averaged before the softmax.

    The first two differ by :math:`H(\bar p) - \frac{1}{K-1}\sum H(p_l)`, in which p_k does not
    occur: their gradients for p_k are equal. The paper finds DML_e worse because averaging makes
    the teacher more peaked; a mean of probabilities is never more peaked than its members are on
    average, a mean of logits may be. Hence the third.

    Args:
        logits: (batch, classes) of the network that learns.
        peers: the others' logits, each (batch, classes); no gradient flows into them.
        temperature: 1 in the paper.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: for no peer, another target, or other shapes.

    Departures: which equation the authors' DML_e computes is recalled, not confirmed.

    >>> z = torch.tensor([[2.0, 0.0]])
    >>> mutual_loss(torch.zeros(1, 2), [z, -z]), mutual_loss(torch.zeros(1, 2), [z, -z], "ensemble")
    (tensor(0.3278), tensor(0.))
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {TARGETS}; got {target!r}.")
    if not peers:
        raise ValueError("mutual learning needs a peer; got none.")
    peers = [peer.detach() for peer in peers]
    if target == "peers":
        divergences = [soft_targets(logits, peer, temperature) for peer in peers]
        return torch.stack(divergences).mean()
    if target == "mean_logits":
        return soft_targets(logits, torch.stack(list(peers)).mean(0), temperature)
    softened = ensemble_log_probabilities([peer / temperature for peer in peers])
    return soft_targets(logits, temperature * softened, temperature)


def mutual(
    networks: Mapping[str, nn.Module],
    examples: Any,
    recipe: Recipe,
    *,
    weight: float = 1.0,
    order: Order = "sequential",
    target: Target = "peers",
    temperature: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, float]]:
    r"""Train K >= 2 networks together: each minimises
    :math:`L_{C_k} + \mathrm{weight} \cdot` :func:`mutual_loss` (Zhang et al. 2018, equations 4-7).

    ``sequential`` is the paper's algorithm 1: network 1 moves, its answers to the same batch are
    made again, then network 2 moves, and so on. ``simultaneous`` takes all answers from before
    the step, as the public implementations do: each network costs one forward and one backward
    pass, and the first K - 1 networks one more forward pass in ``sequential``.

    Args:
        networks: by name, of any kinds; two at least. Trained in place, in this order.
        examples: `Batches`, or a torch Dataset or DataLoader of (image, label). All networks see
            the same images.
        weight: of the peers' term. At 0 the networks are trained independently.
        options: of `training.fit`.

    Returns:
        The history; the terms are `<name>.hard` and `<name>.soft`.

    Raises:
        ValueError: for one network, networks that share parameters, or an unknown order or target.

    Departures: answers made again use batch normalisation's batch statistics, and do not count in
    its running ones a second time, of which the paper says nothing.
    """
    check_networks(networks)
    if order not in ORDERS or target not in TARGETS:
        raise ValueError(
            f"order is one of {ORDERS}, target of {TARGETS}; got {order!r}, {target!r}."
        )
    batches = batches_for(examples, recipe, seed)
    names = list(networks)
    own: dict[str, Tensor] = {}  # each network's logits of this batch, waiting for its step
    seen: dict[str, Tensor] = {}  # what its peers see of it

    def answer(networks, batch: Batch) -> None:
        for name in names:
            own[name] = networks[name](batch.images)
            seen[name] = own[name].detach()

    def terms(name: str, batch: Batch) -> dict[str, Tensor]:
        logits = own.pop(name)
        parts = {f"{name}.hard": hard_loss(logits, batch.labels)}
        if weight:
            peers = [seen[other] for other in names if other != name]
            parts[f"{name}.soft"] = weight * mutual_loss(logits, peers, target, temperature)
        return parts

    def together(networks, batch: Batch) -> dict[str, Tensor]:
        answer(networks, batch)
        return {key: value for name in names for key, value in terms(name, batch).items()}

    def in_turn(number: int, networks, batch: Batch) -> dict[str, Tensor]:
        if number == 0:  # a network's answers stay valid until its own step
            answer(networks, batch)
        elif weight:
            moved = names[number - 1]
            seen[moved] = asked(networks[moved], batch.images)
        return terms(names[number], batch)

    if order == "simultaneous":
        updates = [Update(tuple(names), together, after=lambda: constrain_all(networks))]
    else:
        updates = [
            Update((name,), partial(in_turn, number), after=partial(constrain, networks[name]))
            for number, name in enumerate(names)
        ]
    return fit(networks, batches, updates, recipe, seed=seed, **options)
