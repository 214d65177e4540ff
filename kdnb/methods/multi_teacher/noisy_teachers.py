"""Noisy teachers (Sau and Balasubramanian 2016): one noisy teacher instead of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import check_number
from kdnb.methods.multi_teacher.common import learn
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.teachers import check_teachers
from kdnb.training import Fit, Recipe
from kdnb.training.inputs import batches_for


def learn_from_noisy_teacher(
    student: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    sd: float = 0.3,
    share: float = 0.5,
    logit_weight: float = 1.0,
    label_weight: float = 0.0,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Regress a teacher's logits with new noise in every step (Sau and Balasubramanian 2016).

    .. math:: L = \frac{w_r}{2B} \sum_b \lVert z_b - (1 + a_b \xi_b) \odot v_b \rVert_2^2
        + w_h H(y, q)

    with :func:`kdnb.losses.noisy_logits`. In expectation it is the plain regression of the logits
    (Ba and Caruana 2014) plus a constant: several such "teachers" add only noise.

    Args:
        student: trained in place.
        teacher: frozen.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`. Without a weight of
            the labels, they are not used.
        sd: sigma of the relative noise.
        share: the share of perturbed samples in a batch.
        logit_weight, label_weight: w_r and w_h.

    Returns:
        The history, with `logits` (and `hard`), and the network "student".

    Raises:
        ValueError: for a negative sd, a share outside [0, 1], or as `kdnb.distil`.

    Departures: those of the loss.
    """
    recipe = recipe_of(learn_from_noisy_teacher, recipe, fields)
    found = check_teachers("learn_from_noisy_teacher", student, [teacher])
    check_number(least=0, sd=sd)
    check_number(least=0, most=1, share=share)
    check_weights_of_terms(logit_weight=logit_weight, label_weight=label_weight)

    def terms(batch: Batch, ours: Tensor, theirs: list[Tensor]) -> dict[str, Tensor]:
        target = losses.noisy_logits(theirs[0], sd, share)
        return {"logits": logit_weight * losses.logit_regression(ours, target)}

    reads = "any" if label_weight else "none"
    return learn(
        student, found, batches_for(data, recipe, seed, reads, given=fields), recipe, terms,
        label_weight=label_weight, evaluate=evaluate, seed=seed, checkpoint=checkpoint,
        about={"verb": "learn_from_noisy_teacher", "sd": sd, "share": share,
               "logit_weight": logit_weight},
    )  # fmt: skip
