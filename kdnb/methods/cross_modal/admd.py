"""ADMD (Garcia et al. 2020): a critic judges hallucinated features of a missing modality."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import modality_fooling_loss, modality_judging_loss
from kdnb.methods.cross_modal.views import Seeing, pair_of
from kdnb.methods.teachers import check_pair
from kdnb.nets import constrain, features
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.borrowed import borrowed
from kdnb.training.first import check_module, first_batch, tried
from kdnb.training.inputs import batches_for
from kdnb.training.recipe import recipe_for
from kdnb.training.watching import watching


def admd(
    hallucination: nn.Module,
    privileged: nn.Module,
    critic: nn.Module,
    data: Any,
    recipe: Recipe,
    *,
    critic_recipe: Recipe,
    views: tuple[str | int, str | int],
    paths: tuple[str, str],
    evaluate: Any = None,
    seed: int = 0,
    **options: Any,
) -> Fit:
    r"""Adversarial discriminative modality distillation (Garcia, Morerio and Murino 2020).

    .. math:: L_D = \tfrac12 [H(y, D(f^{priv})) + H(\mathrm{made\ up}, D(f^{hall}))], \qquad
        L_H = H(y, D(f^{hall}))

    The critic separates the classes, and made-up features from real ones. The hallucination network
    learns only by making the critic predict the class; no distance between features is minimised.
    Both are updated on every batch, from the same features.

    Args:
        hallucination: takes only the available view; trained in place up to the judged layer. Later
            layers get no gradient. If both views have the same shape, start it as a copy of the
            privileged network, so that its head can read such features.
        privileged: takes only the privileged view; frozen.
        critic: features -> (batch, C + 1), such as `kdnb.methods.adversarial.Critic(features, C +
            1)`; trained in place.
        data: labelled data whose inputs are a dict or a tuple of views.
        critic_recipe: for the critic's update; the authors use the same one for both.
        views: the available and the privileged view, as keys or positions.
        paths: paths of the judged layers in both networks.
        evaluate: a function of the networks, or data of these views, on which the hallucination
            network is measured after every epoch.
        options: passed to `training.fit`.

    Returns:
        The history: `fooling` and `judging`; the hallucination network, and the critic.

    Raises:
        TypeError: for anything but a module.
        ValueError: for unknown paths or views, or two networks that share a part.

    Departures: none; follows the authors' code. Their critic is deeper and, for videos, also gets
    the position in time. Step 3, fine-tuning the mean of two streams on labels, is `kdnb.train` on
    `Streams`.
    """
    recipe, critic_recipe = recipe_for(recipe, {}), recipe_for(critic_recipe, {})
    own, other = pair_of("views", views)
    pair_of("paths", paths)
    check_pair(hallucination, privileged, ("hallucination", "privileged"))
    check_module("critic", critic)
    batches = batches_for(data, recipe, seed)
    networks = {
        "hallucination": Seeing(hallucination, own),
        "privileged": Seeing(privileged, other),
        "critic": critic,
    }
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(borrowed(*networks.values()))
        here = stack.enter_context(features(hallucination, [paths[0]]))
        there = stack.enter_context(features(privileged, [paths[1]]))
        first = first_batch(batches, seed)
        tried("hallucination", networks["hallucination"], first)
        tried("privileged", networks["privileged"], first, learns=False)
        for seen_by in (here[paths[0]], there[paths[1]]):
            tried("critic", critic, Batch(seen_by.detach().float(), None))

        def mimic(networks, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                networks["privileged"](batch.images)
            networks["hallucination"](batch.images)
            made, real = here[paths[0]], there[paths[1]].detach().float()
            seen.update(made=made.detach(), real=real)
            judged = networks["critic"](made)
            return {"fooling": modality_fooling_loss(judged, batch.labels)}

        def judge(networks, batch: Batch) -> dict[str, Tensor]:
            real, made = (networks["critic"](seen[name]) for name in ("real", "made"))
            return {"judging": modality_judging_loss(real, made, batch.labels)}

        updates = [
            Update(("hallucination",), mimic, after=lambda: constrain(hallucination)),
            Update(("critic",), judge, recipe=critic_recipe),
        ]
        watch = watching(evaluate, {"hallucination": networks["hallucination"]})
        history = fit(networks, batches, updates, recipe, seed=seed, evaluate=watch, **options)
    return Fit.of(history, {"hallucination": hallucination}, critic)
