"""FEED (Park and Kwak 2019): translate a student's last maps for each of several teachers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import Translator, factor_transfer
from kdnb.losses.checks import check_number
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.teachers import check_answers, check_teachers
from kdnb.nets import constrain
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import borrowed
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, layers_of, look, viewing
from kdnb.training.randomness import own_random_state
from kdnb.training.targets import label_loss
from kdnb.training.watching import watching


class FeatureTranslators(nn.Module):
    """FEED's student side: for each teacher, three 3x3 convolutions onto its channels.

    Batch normalisation and a leaky ReLU of slope 0.1 follow each. They are needed only in training.

    Args:
        student_shape: shape of the student's maps, (batch, channels, height, width).
        teacher_shapes: shapes of each teacher's maps.
    """

    def __init__(self, student_shape: Sequence[int], teacher_shapes: Sequence[Sequence[int]]):
        super().__init__()
        self.translators = nn.ModuleList(
            Translator(student_shape, shape[1], normalise=True) for shape in teacher_shapes
        )

    def forward(self, maps: Tensor) -> list[Tensor]:
        """The student's maps translated for each teacher."""
        return [translator(maps) for translator in self.translators]


def feed(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    feature_weight: float = 0.1,
    label_weight: float = 1.0,
    layers: Sequence[Layers] | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Feature-level ensemble of several teachers, the parallel form (Park and Kwak 2019).

    .. math:: L = w_h H(y, q) + w_f \sum_k \Big\lVert \frac{F_k}{\lVert F_k \rVert_2}
        - \frac{r_k(F_S)}{\lVert r_k(F_S) \rVert_2} \Big\rVert_1

    :func:`kdnb.losses.factor_transfer` of the last maps, with a translator r for every teacher and
    no paraphraser. The mean of the teachers' maps would be meaningless, since their channels have
    no common order.

    Args:
        student: trained in place; the translators are not part of it.
        teachers: frozen, at least one.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`.
        feature_weight, label_weight: w_f and w_h.
        layers: the layers of the student and then of each teacher; found by `layers_of` if left
            out. The last of `maps` is taken.

    Returns:
        The history, with `features` and `hard`, the network "student", and the translators as
        `learnt`.

    Raises:
        ValueError: for no teacher, a different number of layers than of networks, or as
            `kdnb.distil`.

    Departures: several parallel non-linear translators, without cost at test, are in the abstract.
    Their layers and the L1 distance of unit vectors are recalled; the weight is ours.
    """
    recipe = recipe_of(feed, recipe, fields)
    found = check_teachers("feed", student, teachers)
    check_number(least=0, feature_weight=feature_weight)
    check_weights_of_terms(feature_weight=feature_weight, label_weight=label_weight)
    networks = [student, *found]
    batches = batches_for(data, recipe, seed, "any" if label_weight else "none", given=fields)
    first = first_batch(batches, seed)
    check_answers(student, found, first, same=False)
    at = layers_for("feed", networks, layers)
    names = ["student", *(f"teacher{number}" for number in range(1, len(networks)))]
    shapes = [
        look(network, places, first.images).maps[-1].shape
        for network, places in zip(networks, at, strict=True)
    ]
    with own_random_state():
        torch.manual_seed(seed)
        translators = FeatureTranslators(shapes[0], shapes[1:])
    with borrowed(*networks), contextlib.ExitStack() as stack:
        looks = [stack.enter_context(viewing(*one)) for one in zip(networks, at, strict=True)]

        def terms(trained: Any, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                theirs = [
                    seen(trained[name](batch.images)).maps[-1]
                    for name, seen in zip(names[1:], looks[1:], strict=True)
                ]
            ours = looks[0](trained["student"](batch.images))
            translated = trained["translators"](ours.maps[-1].float())
            each = [factor_transfer(s, t.float()) for s, t in zip(translated, theirs, strict=True)]
            result = {"features": feature_weight * sum(each)}
            if label_weight:
                result["hard"] = label_weight * label_loss(ours.logits, batch.labels)
            return result

        update = Update(("student", "translators"), terms, after=lambda: constrain(student))
        history = fit(
            {**dict(zip(names, networks, strict=True)), "translators": translators}, batches,
            update, recipe, seed=seed, checkpoint=checkpoint,
            answers=dict.fromkeys(names, logits_of),
            evaluate=watching(evaluate, {"student": student}),
            identity={"method": {"verb": "feed", "weights": [feature_weight, label_weight],
                                 "layers": [list(one.maps) for one in at]}},
        )  # fmt: skip
    return Fit.of(history, {"student": student}, translators)


def feed_in_turn(
    networks: Sequence[nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    **options: Any,
) -> list[Fit]:
    """The sequential form of FEED: each network teaches the next one.

    Every round has a new translator.

    Args:
        networks: the trained teacher first; all others are trained in place, in turn.
        data, recipe, options: as in :func:`feed`; no checkpoint.

    Returns:
        What `feed` returns, of every network but the first.

    Raises:
        ValueError: for fewer than two networks, one that occurs twice, or as `feed`.
    """
    if len(networks) < 2 or len({id(network) for network in networks}) < len(networks):
        raise ValueError("feed_in_turn needs a teacher and at least one student, all different.")
    if options.get("checkpoint") is not None:
        raise ValueError("feed_in_turn keeps no checkpoint: it trains several networks.")
    return [feed(ours, [theirs], data, recipe, **options) for theirs, ours in pairwise(networks)]


def layers_for(
    verb: str, networks: Sequence[nn.Module], layers: Sequence[Layers] | None
) -> list[Layers]:
    """The layers of a student and its teachers: as given, or found automatically.

    Raises:
        ValueError: for a different number of layers than of networks.
    """
    at = [layers_of(network) for network in networks] if layers is None else list(layers)
    if len(at) != len(networks):
        raise ValueError(
            f"layers of {verb} must be one for the student and one for each of "
            f"{len(networks) - 1} teachers; got {len(at)}."
        )
    return at
