"""You et al. 2017: average several teachers' softened answers and let their distances vote."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import check_temperature
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.teachers import check_answers, check_teachers
from kdnb.nets import constrain
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import borrowed
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, layers_of, viewing
from kdnb.training.targets import label_loss
from kdnb.training.watching import watching


def learn_from_several(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Any,
    recipe: Recipe | None = None,
    *,
    temperature: float = 4.0,
    soft_weight: float = 1.0,
    relation_weight: float = 1.0,
    label_weight: float = 1.0,
    margin: float = 0.0,
    triplets: int | None = None,
    layers: Sequence[Layers] | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Train a student with several teachers (You, Xu, Xu and Tao 2017).

    .. math:: L = w_h H(y, q) + \lambda T^2 \mathrm{KL}\Big(\tfrac1K \sum_k p_k \,\Big\|\, q\Big)
        + w_r L_R

    with the teachers' softened answers p averaged, and :func:`kdnb.losses.relative_dissimilarity`
    for L_R, in which the teachers vote on the order of distances in a middle layer.

    Args:
        student: trained in place.
        teachers: frozen, at least one; an odd number has no ties.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`.
        temperature: T of all teachers and the student.
        soft_weight, relation_weight, label_weight: lambda, w_r and w_h.
        margin: margin of the distances, in units of the student's features.
        triplets: the number drawn for each batch, see :func:`kdnb.losses.drawn_triplets`; all of
            the batch if None.
        layers: the layers of the student and then of each teacher; found by `layers_of` if left
            out. The middle one of `maps` is compared.

    Returns:
        The history, with `soft`, `relations` and `hard`, and the network "student".

    Raises:
        ValueError: for no teacher, a different number of layers than of networks, or as
            `kdnb.distil`.

    Departures: recalled, except for the three terms; the weights are ours. Drawing triplets is also
    recalled; their number, and the uniform draw within a batch, are ours. A batch of fewer than
    three samples has no relations.
    """
    recipe = recipe_of(learn_from_several, recipe, fields)
    found = check_teachers("learn_from_several", student, teachers)
    check_temperature(temperature)
    check_weights_of_terms(
        soft_weight=soft_weight, relation_weight=relation_weight, label_weight=label_weight
    )
    batches = batches_for(data, recipe, seed, "any", given=fields)
    check_answers(student, found, first_batch(batches, seed))
    networks = [student, *found]
    at = [layers_of(network) for network in networks] if layers is None else list(layers)
    if len(at) != len(networks):
        raise ValueError(
            f"layers must hold one for the student and one for each of {len(networks) - 1} "
            f"teachers; got {len(at)}."
        )
    names = ["student", *(f"teacher{number}" for number in range(1, len(networks)))]
    with borrowed(*networks), contextlib.ExitStack() as stack:
        looks = [stack.enter_context(viewing(*one)) for one in zip(networks, at, strict=True)]

        def terms(trained: Any, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                theirs = [
                    look(trained[name](batch.images))
                    for name, look in zip(names[1:], looks[1:], strict=True)
                ]
            ours = looks[0](trained["student"](batch.images))
            softened = [view.logits.float() / temperature for view in theirs]
            mean = temperature * losses.ensemble_log_probabilities(softened)
            soft = losses.soft_targets(ours.logits, mean, temperature)
            result = {"soft": soft_weight * soft}
            if len(ours.logits) >= 3:
                middle = [view.maps[len(view.maps) // 2] for view in (ours, *theirs)]
                chosen = None
                if triplets is not None:
                    device = ours.logits.device
                    chosen = losses.drawn_triplets(len(ours.logits), triplets, device=device)
                relations = losses.relative_dissimilarity(
                    middle[0], middle[1:], chosen, margin=margin
                )
                result["relations"] = relation_weight * relations
            else:
                result["relations"] = soft.detach() * 0
            hard = label_loss(ours.logits, batch.labels)
            return {**result, "hard": label_weight * hard}

        update = Update(("student",), terms, after=lambda: constrain(student))
        history = fit(
            dict(zip(names, networks, strict=True)), batches, update, recipe, seed=seed,
            checkpoint=checkpoint, evaluate=watching(evaluate, {"student": student}),
            answers=dict.fromkeys(names, logits_of),
            identity={"method": {"verb": "learn_from_several", "temperature": temperature,
                                 "weights": [soft_weight, relation_weight, label_weight],
                                 "margin": margin, "layers": [list(one.maps) for one in at],
                                 **({} if triplets is None else {"triplets": triplets})}},
        )  # fmt: skip
    return Fit.of(history, {"student": student})
