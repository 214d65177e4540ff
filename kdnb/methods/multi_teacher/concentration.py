"""Knowledge concentration (Gao et al. 2017): specialists of few classes each teach one generalist.

Every specialist knows a vertical, a group of classes, and teaches only the images of its vertical.
The generalist follows more specialists over time, and its last layers may be structured by
verticals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdnb import losses
from kdnb.data import Batch
from kdnb.losses.checks import check_choice, check_number, check_temperature
from kdnb.methods.multi_teacher.common import learn
from kdnb.methods.options import check_weights_of_terms, recipe_of
from kdnb.methods.teachers import check_teachers
from kdnb.training import Fit, Recipe
from kdnb.training.first import first_batch, tried
from kdnb.training.inputs import batches_for


class StructuredHead(nn.Module):
    """Two last layers in which every vertical has its own hidden units.

    A class reads only the units of its vertical: there are `own` (features + 1) weights per
    vertical and (`own` + 1) per class, while full layers with as many units would have verticals
    times `own` + 1 per class.

    Args:
        features: of the input.
        verticals: groups of class indices, which together contain 0 to classes - 1, each once.
        own: hidden units of each vertical.

    Raises:
        ValueError: for groups that are not a partition of the classes.
    """

    def __init__(self, features: int, verticals: Sequence[Sequence[int]], own: int):
        super().__init__()
        check_number(least=1, whole=True, features=features, own=own)
        check_partition(verticals)
        self.hidden = nn.Linear(features, own * len(verticals))
        self.groups = nn.ModuleList(nn.Linear(own, len(group)) for group in verticals)
        order = torch.tensor([label for group in verticals for label in group])
        self.register_buffer("order", order.argsort())

    def forward(self, embedding: Tensor) -> Tensor:
        """(batch, features) -> logits (batch, classes)."""
        parts = self.hidden(embedding).relu().chunk(len(self.groups), 1)
        logits = [group(part) for group, part in zip(self.groups, parts, strict=True)]
        return torch.cat(logits, 1)[:, self.order]


def check_partition(verticals: Sequence[Sequence[int]]) -> int:
    """Require groups that hold each of 0 to C - 1 once, and return C.

    Raises:
        ValueError: for anything else.
    """
    lists = (list, tuple, range)
    groups = [list(one) if isinstance(one, lists) else [one] for one in verticals]
    labels = [label for group in groups for label in group]
    whole = all(isinstance(label, Integral) for label in labels)
    if not whole or not groups or not all(groups) or sorted(labels) != list(range(len(labels))):
        raise ValueError(
            f"verticals must hold every class from 0 on once, none of them empty; got {groups}."
        )
    return len(labels)


def pace(epoch: int, epochs: int, specialists: int, start: float = 0.5) -> int:
    """The number of specialists followed in an epoch; their share grows to 1 at half of the epochs.

    >>> [pace(epoch, 10, 4) for epoch in range(10)]
    [2, 3, 3, 4, 4, 4, 4, 4, 4, 4]
    """
    share = start + (1 - start) * min(1.0, epoch / max(1.0, epochs / 2))
    return max(1, math.ceil(share * specialists - 1e-9))


def concentrate(
    student: nn.Module,
    specialists: Sequence[nn.Module],
    verticals: Sequence[Sequence[int]],
    data: Any,
    recipe: Recipe | None = None,
    *,
    form: Literal["logits", "probabilities"] = "probabilities",
    temperature: float = 4.0,
    specialist_weight: float = 1.0,
    label_weight: float = 1.0,
    start: float = 0.5,
    evaluate: Any = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    **fields: Any,
) -> Fit:
    r"""Concentrate specialists into one generalist (Gao et al. 2017).

    .. math:: L = w_h H(y, z) + w_s \sum_m a_m(t)\, L_m, \quad
        L_m = \frac{1}{B} \sum_{b: y_b \in G_m} D(v_{mb}, z_{b, G_m})

    D compares the specialist's answer on its classes G_m with the generalist's logits of the same
    classes, by the divergence of their softmax or by half the squared distance of the logits.
    a_m(t) is 0 or 1: at first the generalist follows only those specialists that it imitates best,
    by a running mean of their losses, and later more of them (:func:`pace`).

    Args:
        student: trained in place; logits of all classes.
        specialists: frozen; specialist m answers for the classes `verticals[m]`, in that order.
        verticals: groups of class numbers, a partition.
        data, recipe, evaluate, seed, checkpoint, fields: as in `kdnb.distil`; labels are classes.
        form: "probabilities" or "logits".
        temperature: T of the divergence.
        specialist_weight, label_weight: w_s and w_h.
        start: the share of the specialists followed at first; 1 follows all from the start.

    Returns:
        The history, with `specialists`, `followed` (how many were, a mean, measured) and `hard`;
        the network "student".

    Raises:
        ValueError: for a different number of verticals than of specialists, groups that are no
            partition, a specialist or student of other classes, or as `kdnb.distil`.

    Departures: the three parts (several teachers, a pace, structured last layers) are in the
    abstract. The formula is recalled; starting with easy specialists, and the schedule, are ours.
    """
    recipe = recipe_of(concentrate, recipe, fields)
    found = check_teachers("concentrate", student, specialists)
    classes, groups = check_partition(verticals), [torch.tensor(list(g)) for g in verticals]
    if len(groups) != len(found):
        raise ValueError(f"one vertical a specialist; got {len(groups)} for {len(found)}.")
    check_choice(("logits", "probabilities"), form=form)
    check_temperature(temperature)
    check_number(above=0, most=1, start=start)
    check_weights_of_terms(specialist_weight=specialist_weight, label_weight=label_weight)
    batches = batches_for(data, recipe, seed, given=fields)
    said = tried("student", student, first_batch(batches, seed))
    if said.shape[1] != classes:
        raise ValueError(f"the student has {said.shape[1]} classes, the verticals {classes}.")
    running: list[float | None] = []
    followed = len(found)

    def begin(epoch: int) -> None:
        nonlocal followed
        followed = pace(epoch, recipe.epochs, len(found), start)
        running[:] = [None] * len(found)  # reset, so that a resumed run is the same

    def terms(batch: Batch, ours: Tensor, theirs: list[Tensor]) -> dict[str, Tensor]:
        each = []
        for group, logits in zip(groups, theirs, strict=True):
            group = group.to(ours.device)
            own = torch.isin(batch.labels, group)
            share = own.to(ours.dtype).mean()
            pair = ours[own][:, group], logits[own]
            if not bool(own.any()):
                each.append(ours.sum() * 0)
            elif form == "logits":
                each.append(share * losses.logit_regression(*pair))
            else:
                each.append(share * losses.soft_targets(*pair, temperature))
        for place, one in enumerate(each):
            now, before = float(one.detach()), running[place]
            running[place] = now if before is None else 0.9 * before + 0.1 * now
        first = sorted(range(len(each)), key=lambda place: running[place])[:followed]
        total = sum(each[place] for place in first)
        count = torch.tensor(float(len(first)), device=ours.device)
        return {"specialists": specialist_weight * total, "followed": count}

    return learn(
        student, found, batches, recipe, terms, label_weight=label_weight, evaluate=evaluate,
        seed=seed, checkpoint=checkpoint, begin=begin, classes=[len(group) for group in groups],
        about={"verb": "concentrate", "verticals": [list(g) for g in verticals], "form": form,
               "temperature": temperature, "specialist_weight": specialist_weight,
               "start": start},
    )  # fmt: skip
