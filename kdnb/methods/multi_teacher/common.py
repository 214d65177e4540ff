"""What the schemes of several teachers share: frozen teachers that are asked of every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.nets import constrain
from kdnb.training import Fit, Networks, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import shared_part
from kdnb.training.first import check_module
from kdnb.training.targets import label_loss
from kdnb.training.watching import watching

# (batch, the student's logits, each teacher's) -> named terms, weighted already
Terms = Callable[[Batch, Tensor, list[Tensor]], dict[str, Tensor]]


def check_teachers(verb: str, student: nn.Module, teachers: Sequence[nn.Module]) -> list[nn.Module]:
    """The teachers as a list of modules, at least one, none of which shares weights with the student.

    Raises:
        TypeError: for what is no list or no module.
        ValueError: for no teacher, or a student that is its own teacher.
    """
    if isinstance(teachers, nn.Module) and not isinstance(teachers, nn.ModuleList):
        raise TypeError(f"{verb} takes a list of teachers; got one module: [teacher].")
    check_module("student", student)
    found = list(teachers)
    if not found:
        raise ValueError(f"{verb} needs at least one teacher; got none.")
    for number, teacher in enumerate(found, 1):
        check_module(f"teacher {number}", teacher, learns=False)
        if shared := shared_part(student, teacher):
            raise ValueError(f"student and teacher {number} share {shared}: give it copies.")
    return found


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
) -> Fit:
    """Train a student on terms of its own and its frozen teachers' logits, and on the labels.

    Args:
        batches: from :func:`kdnb.training.inputs.batches_for`.
        terms: their names must not be `hard`.
        label_weight: of the cross-entropy with the labels; 0 reads none.
        about: by what a checkpoint of the run is recognised besides data and networks.
        evaluate, checkpoint: as in the verbs.
        begin: called with the number of each epoch, before it.
    """
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
