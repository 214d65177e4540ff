"""Deep mutual learning (Zhang et al. 2018): peers that learn from one another's answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hard_loss
from kdnb.losses.dml import TARGETS, Target, mutual_loss
from kdnb.methods.online.common import asked, check_networks, constrain_all
from kdnb.nets import constrain
from kdnb.training import Recipe, Update, fit
from kdnb.training.inputs import batches_for

Order = Literal["sequential", "simultaneous"]
ORDERS = ("sequential", "simultaneous")


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
