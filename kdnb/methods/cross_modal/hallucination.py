"""Modality hallucination (Hoffman et al. 2016): imitate the features of a missing modality.

At test the hallucination network and a network of the available modality answer together, as
`views.Streams`.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hallucination_loss, hard_loss
from kdnb.losses.checks import check_number
from kdnb.methods.cross_modal.supervision import as_maps
from kdnb.methods.cross_modal.views import Seeing, pair_of
from kdnb.methods.teachers import check_pair
from kdnb.nets import constrain, features
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.borrowed import borrowed
from kdnb.training.first import first_batch, tried
from kdnb.training.inputs import batches_for
from kdnb.training.recipe import recipe_for
from kdnb.training.watching import watching

BALANCE = 10.0  # the initial ratio of the hallucination term to the largest other term


def hallucinate(
    hallucination: nn.Module,
    privileged: nn.Module,
    data: Any,
    recipe: Recipe,
    *,
    views: tuple[str | int, str | int],
    paths: tuple[str, str],
    beside: nn.Module | None = None,
    weight: float | None = None,
    evaluate: Any = None,
    seed: int = 0,
    **options: Any,
) -> Fit:
    r"""Modality hallucination (Hoffman, Gupta and Darrell 2016).

    .. math:: L = H(y, q_{hall}) + \big[H(y, q_{beside}) + H(y, q_{joint})\big] + \lambda
        \lVert \sigma(A^{hall}) - \sigma(A^{priv}) \rVert_2^2

    Args:
        hallucination: takes only the available view; trained in place. It may start as a copy of
            the privileged network if both views have the same shape.
        privileged: trained on the privileged view, its only input; frozen.
        data: labelled data whose inputs are a dict or a tuple of views.
        views: the available and the privileged view, as keys or positions.
        paths: paths of the matched layers in both networks.
        beside: another network for the available view, trained jointly; it adds the terms in square
            brackets. The joint answer is the mean of its logits and the hallucination network's.
        weight: lambda. If left out, it is chosen on the first training batch so that the term is 10
            times the largest other one.
        evaluate: a function of the networks, or data of these views, on which the trained networks
            are measured after every epoch.
        options: passed to `training.fit`.

    Returns:
        The history: `hard`, `transfer`, and `beside` and `joint`; the networks.

    Raises:
        TypeError: for anything but a module.
        ValueError: for unknown paths or views, a weight below 0, layers of different shapes, or two
            networks that share a part.

    Departures: recalled; the paper's text was not available. It detects objects, keeps training the
    upper layers of the privileged network, and has a joint term for that network too.
    """
    if weight is not None:
        check_number(least=0, weight=weight)
    recipe = recipe_for(recipe, {})
    own, other = pair_of("views", views)
    pair_of("paths", paths)
    check_pair(hallucination, privileged, ("hallucination", "privileged"))
    if beside is not None:
        check_pair(beside, privileged, ("beside", "privileged"))
        check_pair(hallucination, beside, ("hallucination", "beside"))
    batches = batches_for(data, recipe, seed)
    networks = {
        "hallucination": Seeing(hallucination, own),
        "privileged": Seeing(privileged, other),
    }
    if beside is not None:
        networks["beside"] = Seeing(beside, own)
    first = first_batch(batches, seed)
    said = {
        name: tried(name, network, first, learns=name != "privileged")
        for name, network in networks.items()
    }
    if beside is not None and said["beside"].shape != said["hallucination"].shape:
        raise ValueError(
            "hallucination and beside must answer for the same classes; got "
            f"{tuple(said['hallucination'].shape)} and {tuple(said['beside'].shape)}."
        )
    chosen = [weight]
    with ExitStack() as stack:
        stack.enter_context(borrowed(*networks.values()))
        here = stack.enter_context(features(hallucination, [paths[0]]))
        there = stack.enter_context(features(privileged, [paths[1]]))

        def terms(networks, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                networks["privileged"](batch.images)
            logits = networks["hallucination"](batch.images)
            found = {"hard": hard_loss(logits, batch.labels)}
            if beside is not None:
                answer = networks["beside"](batch.images)
                found["beside"] = hard_loss(answer, batch.labels)
                found["joint"] = hard_loss((answer + logits) / 2, batch.labels)
            distance = hallucination_loss(
                as_maps(here[paths[0]]), as_maps(there[paths[1]].detach())
            )
            if chosen[0] is None:
                largest = max(float(value.detach()) for value in found.values())
                chosen[0] = BALANCE * largest / max(float(distance.detach()), 1e-12)
            return {**found, "transfer": chosen[0] * distance}

        def after() -> None:
            constrain(hallucination)
            if beside is not None:
                constrain(beside)

        moved = ("hallucination",) if beside is None else ("hallucination", "beside")
        watch = watching(evaluate, {name: networks[name] for name in moved})
        history = fit(
            networks, batches, Update(moved, terms, after=after), recipe, seed=seed,
            evaluate=watch, **options,
        )  # fmt: skip
    learnt = {"hallucination": hallucination} | ({} if beside is None else {"beside": beside})
    return Fit.of(history, learnt)
