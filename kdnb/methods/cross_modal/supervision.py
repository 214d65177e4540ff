"""Supervision transfer (Gupta et al. 2016): an unlabelled modality learns another's features."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import hint
from kdnb.methods.cross_modal.views import Seeing, pair_of
from kdnb.methods.teachers import check_pair
from kdnb.nets import constrain, features
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.borrowed import borrowed
from kdnb.training.first import check_module, first_batch, tried
from kdnb.training.inputs import batches_for
from kdnb.training.recipe import recipe_for
from kdnb.training.watching import watching


def transfer_supervision(
    student: nn.Module,
    teacher: nn.Module,
    pairs: Any,
    recipe: Recipe,
    *,
    views: tuple[str | int, str | int],
    paths: tuple[str, str],
    adaptor: nn.Module | None = None,
    evaluate: Any = None,
    seed: int = 0,
    **options: Any,
) -> Fit:
    r"""Match a student's middle layer on its view to the teacher's on the other, without labels.

    .. math:: \min_{\phi, t}\; \frac{1}{2B} \sum_b \lVert \psi_l(x^*_b) - t(\phi_l(x_b)) \rVert_2^2

    This is the first of two steps: afterwards the student is fine-tuned on a few labels of its own
    modality, by :func:`kdnb.train`, or gets the teacher's head.

    Args:
        student: takes only its view; trained in place up to the matched layer. Later layers get no
            gradient.
        teacher: takes only its view; frozen.
        pairs: inputs as a dict or a tuple of views of the same samples. Labels are not used.
        views: the student's and the teacher's view, as keys or positions.
        paths: paths of the matched layers in student and teacher.
        adaptor: t, trained with the student, for layers of different width, such as a linear layer
            or a 1 x 1 convolution; the identity if None.
        evaluate: a function of the networks, or data of these views, on which the student is
            measured after every epoch.
        options: passed to `training.fit`.

    Returns:
        The history with the term `transfer`; the student; the trained adaptor.

    Raises:
        TypeError: for anything but a module.
        ValueError: for unknown paths or views, layers of different shapes, or a student that shares
            a part with its teacher.

    Departures: unlabelled pairs, the learnt transformation, the L2 distance and a middle layer (the
    last convolutional one) follow the abstract and public summaries; the full text was not
    available. The factor 1/2 is that of FitNets; the adaptor may be any module.
    """
    recipe = recipe_for(recipe, {})
    check_pair(student, teacher)
    if adaptor is not None:
        check_module("adaptor", adaptor)
    pair_of("paths", paths)
    own, other = map(Seeing, (student, teacher), pair_of("views", views))
    batches = batches_for(pairs, recipe, seed, labels="none")
    networks = {"student": own, "teacher": other, "adaptor": adaptor or nn.Identity()}
    with ExitStack() as stack:
        stack.enter_context(borrowed(*networks.values()))
        here = stack.enter_context(features(student, [paths[0]]))
        there = stack.enter_context(features(teacher, [paths[1]]))
        first = first_batch(batches, seed)
        tried("student", own, first)
        tried("teacher", other, first, learns=False)
        if adaptor is not None:
            tried("adaptor", adaptor, Batch(here[paths[0]].detach(), None))

        def terms(networks, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                networks["teacher"](batch.images)
            networks["student"](batch.images)
            mapped = networks["adaptor"](here[paths[0]])
            return {"transfer": hint(as_maps(mapped), as_maps(there[paths[1]].detach()))}

        moved = ("student", "adaptor") if adaptor is not None else ("student",)
        update = Update(moved, terms, after=lambda: constrain(student))
        watch = watching(evaluate, {"student": own})
        history = fit(networks, batches, update, recipe, seed=seed, evaluate=watch, **options)
    return Fit.of(history, {"student": student}, adaptor)


def as_maps(values: Tensor) -> Tensor:
    """Features (batch, features) as maps of one position; maps unchanged."""
    return values[..., None, None] if values.ndim == 2 else values
