"""IFM (Passalis, Tzelepi and Tefas 2020): distil through an auxiliary teacher of equal depth."""

from __future__ import annotations

from typing import Any

from torch import nn

from kdnb.losses.checks import Variant
from kdnb.methods.offline.distil import distil
from kdnb.methods.options import recipe_of
from kdnb.training import Fit, Recipe


def through_auxiliary(
    student: nn.Module,
    auxiliary: nn.Module,
    teacher: nn.Module,
    data: Any,
    recipe: Recipe | None = None,
    *,
    weight: float = 1.0,
    label_weight: float = 1.0,
    initial_weight: float = 100.0,
    flow_decay: float = 0.7,
    variant: Variant = "paper",
    seed: int = 0,
    **fields: Any,
) -> Fit:
    r"""Distil into an auxiliary teacher by its last layer, then match the student to its layers.

    Layers of networks of different depth do not correspond. Therefore a wider network of the
    student's depth first learns the teacher's last layer by :func:`kdnb.losses.hybrid_transfer`,
    without labels. Then every layer of the student follows the auxiliary's by
    :func:`kdnb.losses.information_flow`, the earlier layers mainly in the first, critical epochs.

    Args:
        student: trained in place.
        auxiliary: of the student's depth, trained in place; the authors use one already trained on
            labels.
        teacher: frozen.
        data, recipe, fields: as in `kdnb.distil`; of both stages.
        weight, label_weight: weights of the flow and of the labels in the second stage; the
            authors' student uses no labels.
        initial_weight, flow_decay: of the intermediate layers, see `information_flow`; the decay is
            scaled to 50 epochs, whatever the number here.
        variant: variant of both losses.
        seed: for both stages.

    Returns:
        The history of the second stage, with `ifm` and `hard`; the networks "student" and
        "auxiliary".

    Raises:
        ValueError: as `kdnb.distil`, or if student and auxiliary have different numbers of layers.

    Departures: weights, decay, epochs and the first stage's loss are those of the authors' code
    (passalis/pkth, read), which gives the auxiliary 40 epochs and the student 50.
    """
    recipe = recipe_of(through_auxiliary, recipe, fields)
    distil(
        auxiliary, teacher, data, recipe, method="pkt_hybrid", weight=1.0, label_weight=0.0,
        variant=variant, seed=seed,
    )  # fmt: skip
    fit = distil(
        student, auxiliary, data, recipe, method="ifm", weight=weight, label_weight=label_weight,
        initial_weight=initial_weight, decay={"ifm": flow_decay}, variant=variant, seed=seed,
    )  # fmt: skip
    fit.networks["auxiliary"] = auxiliary
    return fit
