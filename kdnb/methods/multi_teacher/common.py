"""Shared code for several teachers: frozen teachers evaluated on every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.methods.teachers import check_answers
from kdnb.nets import constrain
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.first import first_batch
from kdnb.training.targets import label_loss
from kdnb.training.watching import watching

# (batch, the student's logits, each teacher's) -> named terms, weighted already
Terms = Callable[[Batch, Tensor, list[Tensor]], dict[str, Tensor]]


def learn(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    batches: Any,
    recipe: Recipe,
    terms: Terms,
    *,
    label_weight: float,
    seed: int,
    about: Mapping[str, Any],
    evaluate: Any = None,
    checkpoint: Path | str | None = None,
    begin: Callable[[int], None] | None = None,
    classes: Sequence[int] | None = None,
) -> Fit:
    """Train a student on terms of its own and its frozen teachers' logits, and on labels.

    Args:
        batches: from :func:`kdnb.training.inputs.batches_for`.
        terms: their names must not be `hard`.
        label_weight: weight of the cross-entropy with the labels; 0 reads none.
        about: identifies a checkpoint of the run, besides data and networks.
        evaluate, checkpoint: as in the verbs.
        begin: called with the number of each epoch, before it.
        classes: the classes of each teacher; those of the student if left out.

    Raises:
        ValueError: see :func:`kdnb.methods.teachers.check_answers`.
    """
    check_answers(student, teachers, first_batch(batches, seed), classes)
    names = [f"teacher{number}" for number in range(1, len(teachers) + 1)]

    def both(trained: Networks, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            theirs = [trained[name](batch.images).float() for name in names]
        ours = trained["student"](batch.images)
        found = terms(batch, ours, theirs)
        if label_weight:
            found["hard"] = label_weight * label_loss(ours, batch.labels)
        return found

    networks = {"student": student, **dict(zip(names, teachers, strict=True))}
    update = Update(("student",), both, after=lambda: constrain(student), begin=begin)
    history = fit(
        networks, batches, update, recipe, seed=seed, checkpoint=checkpoint,
        evaluate=watching(evaluate, {"student": student}),
        answers=dict.fromkeys(networks, logits_of),
        identity={"method": {**about, "label_weight": label_weight}},
    )  # fmt: skip
    return Fit.of(history, {"student": student})
