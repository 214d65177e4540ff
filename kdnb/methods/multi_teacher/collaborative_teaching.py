"""CTKD, collaborative teaching (Zhao et al. 2019): a scratch teacher and an expert teacher.

The scratch teacher trains together with the student and passes on its answers at every step, a path
that a student can follow from the start. The expert teacher is already trained and provides its
attention.
(Another CTKD, with a curriculum of temperatures, is `kdnb.losses.ctkd`.)
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import attention_transfer, soft_targets
from kdnb.losses.checks import check_number, check_temperature
from kdnb.methods.multi_teacher.feed import layers_for
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.teachers import check_answers, check_teachers
from kdnb.nets import constrain
from kdnb.training import Fit, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import borrowed
from kdnb.training.first import first_batch
from kdnb.training.inputs import batches_for
from kdnb.training.layers import Layers, look, matched, viewing
from kdnb.training.targets import label_loss
from kdnb.training.watching import watching


def collaborative_teaching(
    student: nn.Module,
    scratch: nn.Module,
    expert: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    temperature: float = 4.0,
    soft_weight: float = 1.0,
    attention_weight: float = 1.0,
    label_weight: float = 1.0,
    layers: tuple[Layers, Layers] | None = None,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Train on a scratch teacher's current answers and an expert teacher's attention (Zhao 2019).

    .. math:: L_S = w_h H(y, q) + w_s T^2\, \mathrm{KL}(p^{(t)} \,\|\, q)
        + w_a \sum_l \mathrm{AT}(F_E^l, F_S^l), \quad L_P = H(y, p)

    with the answers :math:`p^{(t)}` that the scratch teacher gives at step t, before it learns from
    the labels of the same batch. No gradient flows from the student into it.

    Args:
        student, scratch: trained in place, together and by one recipe.
        expert: frozen.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`.
        temperature: T of scratch teacher and student.
        soft_weight, attention_weight, label_weight: w_s, w_a and w_h.
        layers: the layers of the student and of the expert, whose maps are matched by resolution,
            from the last backwards; found by `layers_of` if left out.

    Returns:
        The history, with `soft`, `attention`, `hard` and the scratch teacher's `scratch`; the
        networks "student" and "scratch".

    Raises:
        ValueError: for networks that share weights, a different number of layers, or as
            `kdnb.distil`.

    Departures: the knowledge that each teacher provides is taken from summaries; the formula and
    its weights are recalled or ours.
    """
    recipe = recipe_of(collaborative_teaching, recipe, fields)
    check_teachers("collaborative_teaching", student, [scratch, expert])
    check_teachers("collaborative_teaching", scratch, [expert])
    check_temperature(temperature)
    check_number(least=0, soft_weight=soft_weight, attention_weight=attention_weight)
    check_weights_of_terms(
        soft_weight=soft_weight, attention_weight=attention_weight, label_weight=label_weight
    )
    batches = batches_for(data, recipe, seed, "any", given=fields)
    first = first_batch(batches, seed)
    check_answers(student, [scratch], first)
    check_answers(student, [expert], first, same=False)
    pair = [student, expert]
    at = layers_for("collaborative_teaching", pair, layers)
    if layers is None:
        views = [
            look(network, places, first.images) for network, places in zip(pair, at, strict=True)
        ]
        at = list(matched(*at, *views))
    elif len(at[0].maps) != len(at[1].maps):
        raise ValueError(
            f"layers must name as many maps of both; got {len(at[0].maps)} and {len(at[1].maps)}."
        )
    networks = {"student": student, "scratch": scratch, "expert": expert}
    with borrowed(*networks.values()), contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(viewing(*one)) for one in zip(pair, at, strict=True))

        def terms(trained: Any, batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                shown = theirs(trained["expert"](batch.images))
            path = trained["scratch"](batch.images)
            view = ours(trained["student"](batch.images))
            maps = zip(view.maps, shown.maps, strict=True)
            attention = sum(attention_transfer(s.float(), t.float()) for s, t in maps)
            return {
                "soft": soft_weight * soft_targets(view.logits, path.detach(), temperature),
                "attention": attention_weight * attention,
                "hard": label_weight * label_loss(view.logits, batch.labels),
                "scratch": label_loss(path, batch.labels),
            }

        def after() -> None:
            constrain(student)
            constrain(scratch)

        update = Update(("student", "scratch"), terms, after=after)
        history = fit(
            networks, batches, update, recipe, seed=seed, checkpoint=checkpoint,
            answers=dict.fromkeys(networks, logits_of),
            evaluate=watching(evaluate, {"student": student}),
            identity={"method": {"verb": "collaborative_teaching", "temperature": temperature,
                                 "weights": [soft_weight, attention_weight, label_weight],
                                 "layers": [list(one.maps) for one in at]}},
        )  # fmt: skip
    return Fit.of(history, {"student": student, "scratch": scratch})
