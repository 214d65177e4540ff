"""Deep mutual learning (Zhang et al. 2018): peers learn from one another's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses.checks import check_number
from kdnb.losses.dml import TARGETS, Target, mutual_loss
from kdnb.methods.online.common import check_networks, constrain_all, in_passing
from kdnb.methods.options import recipe_of
from kdnb.nets import constrain
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import Output, logits_of
from kdnb.training.first import first_batch, tried
from kdnb.training.inputs import batches_for
from kdnb.training.targets import NOTHING, check_every_label, check_index, counted_rows, label_loss
from kdnb.training.watching import watching

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Order = Literal["sequential", "simultaneous"]
ORDERS = ("sequential", "simultaneous")


def mutual(
    networks: Sequence[nn.Module] | Mapping[str, nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    weight: float = 1.0,
    temperature: float = 1.0,
    target: Target = "peers",
    order: Order = "sequential",
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    log_dir: Path | str | None = None,
    output: Output = None,
    ignore_index: int = NOTHING,
    fabric: Fabric | None = None,
    **fields: Any,
) -> Fit:
    r"""Train K >= 2 networks together: each minimises
    :math:`L_{C_k} + \mathrm{weight} \cdot` :func:`mutual_loss` (Zhang et al. 2018, equations 4-7).

    ``sequential`` is the paper's algorithm 1: network 1 is updated, its answers to the same batch
    are recomputed, then network 2 is updated, and so on. ``simultaneous`` uses all answers from
    before the step, as public implementations do. Each network costs one forward and one backward
    pass; in ``sequential`` the first K - 1 networks need an additional forward pass.

    Args:
        networks: by name, or a list, whose names are then `peer0`, `peer1`, ...; of any kinds, at
            least two. Trained in place, in this order, and left as `kdnb.train` leaves its network.
        data, recipe, evaluate, seed, checkpoint, log_dir, output, ignore_index, fabric: as in
            :func:`kdnb.methods.offline.distil.train`. All networks see the same images.
        weight: weight of the peers' term. At 0 the networks are trained independently.
        temperature, target: as in :func:`mutual_loss`.
        fields: fields of the recipe.

    Returns:
        The history, with the terms `<name>.hard` and `<name>.soft`, and the networks.

    Raises:
        ValueError: for one network, networks that share parameters or have different classes, an
            unknown order or target, or an unknown or ignored keyword.

    Departures: recomputed answers use batch statistics in batch normalisation and do not update its
    running statistics a second time; the paper does not mention this.
    """
    recipe = recipe_of(mutual, recipe, fields)
    check_number(least=0, weight=weight)
    check_number(above=0, temperature=temperature)
    if not isinstance(networks, (Mapping, nn.ModuleList, nn.ModuleDict, list, tuple)):
        raise TypeError(
            "mutual trains two networks or more: give a list of them, or a dict by name; got a "
            f"{type(networks).__name__}."
        )
    if isinstance(networks, nn.ModuleDict):
        networks = dict(networks.items())
    if not isinstance(networks, Mapping):
        networks = {f"peer{number}": network for number, network in enumerate(networks)}
    check_networks(networks)
    if order not in ORDERS or target not in TARGETS:
        raise ValueError(
            f"order is one of {ORDERS}, target of {TARGETS}; got {order!r}, {target!r}."
        )
    batches = batches_for(data, recipe, seed, labels="any", given=fields)
    names = list(networks)
    check_index(ignore_index)
    _try(networks, batches, first_batch(batches, seed), output, ignore_index)
    own: dict[str, Tensor] = {}  # each network's logits of this batch, until its step
    seen: dict[str, Tensor] = {}  # what its peers see of it

    def answer(networks, batch: Batch) -> None:
        for name in names:
            own[name] = networks[name](batch.images)
            seen[name] = own[name].detach()

    def terms(name: str, batch: Batch) -> dict[str, Tensor]:
        logits = own.pop(name)
        parts = {f"{name}.hard": label_loss(logits, batch.labels, 0.0, ignore_index)}
        if weight:
            rows = partial(counted_rows, labels=batch.labels, ignore_index=ignore_index)
            ours, peers = rows(logits), [rows(seen[other]) for other in names if other != name]
            soft = mutual_loss(ours, peers, target, temperature) if len(ours) else ours.sum()
            parts[f"{name}.soft"] = weight * soft
        return parts

    def together(networks, batch: Batch) -> dict[str, Tensor]:
        answer(networks, batch)
        return {key: value for name in names for key, value in terms(name, batch).items()}

    def in_turn(number: int, networks, batch: Batch) -> dict[str, Tensor]:
        if number == 0:  # a network's answers stay valid until its own step
            answer(networks, batch)
        elif weight:
            moved = names[number - 1]
            seen[moved] = in_passing(networks[moved], batch.images)
        return terms(names[number], batch)

    if order == "simultaneous":
        updates = [Update(tuple(names), together, after=lambda: constrain_all(networks))]
    else:
        updates = [
            Update((name,), partial(in_turn, number), after=partial(constrain, networks[name]))
            for number, name in enumerate(names)
        ]
    settings = {"verb": "mutual", "weight": weight, "temperature": temperature}
    settings["ignore_index"] = ignore_index
    history = fit(
        networks, batches, updates, recipe, seed=seed, checkpoint=checkpoint, log_dir=log_dir,
        evaluate=watching(evaluate, networks, output, ignore_index), fabric=fabric,
        answers=dict.fromkeys(names, partial(logits_of, output=output)),
        identity={"method": {**settings, "target": target, "order": order}},
    )  # fmt: skip
    return Fit.of(history, networks)


def _try(
    networks: Mapping[str, nn.Module], batches: Any, first: Batch, output: Output, ignored: int
) -> None:
    """Run every network on a first batch, and reject mismatches."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, network in networks.items():
        logits = tried(f"network {name!r}", network, first, output)
        check_every_label(batches, logits, ignored)
        label_loss(logits, first.labels, 0.0, ignored)
        shapes[name] = tuple(counted_rows(logits, None).shape)
    if len(set(shapes.values())) > 1:
        shown = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
        raise ValueError(f"peers must answer for the same places and classes; got {shown}.")
