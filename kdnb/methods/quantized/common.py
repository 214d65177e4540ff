"""Shared code of this section: a student with one frozen teacher."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch, Batches
from kdnb.losses import soft_targets
from kdnb.nets import constrain
from kdnb.training import Networks, Recipe, Update, fit
from kdnb.training.answers import logits_of
from kdnb.training.borrowed import borrowed
from kdnb.training.first import check_finite_weights, first_batch, tried
from kdnb.training.targets import check_every_label, label_loss
from kdnb.training.teacher import asked
from kdnb.training.watching import watching

# (batch, the student's logits, the teacher's) -> named terms, weighted already
Terms = Callable[[Batch, Tensor, Tensor], dict[str, Tensor]]


def check_first(
    batches: Any,
    seed: int,
    student: nn.Module,
    teacher: nn.Module | None = None,
    *,
    labels: bool = True,
    learns: bool = True,
) -> Batch:
    """Run the networks on a first batch, before any work, and return the batch.

    Args:
        batches, seed: for the run.
        teacher: None if there is no teacher.
        labels: whether the labels are used.
        learns: False if the student's own weights stay fixed.

    Raises:
        ValueError: for inputs that a network cannot take, weights that are NaN or infinite, a
            student with nothing to learn, mismatched logits, or labels that do not match them.
    """
    batch = first_batch(batches, seed)
    logits = tried("student", student, batch, learns=learns)
    check_finite_weights("the student", student)
    if teacher is not None:
        theirs = tried("teacher", teacher, batch, learns=False)
        check_finite_weights("the teacher", teacher)
        if theirs.shape != logits.shape:
            raise ValueError(
                "student and teacher must give logits of one shape; got "
                f"{tuple(logits.shape)} and {tuple(theirs.shape)}."
            )
    if labels:
        label_loss(logits, batch.to(logits.device).labels)
        check_every_label(batches, logits)
    return batch


def kd_terms(soft_weight: float, label_weight: float, temperature: float) -> Terms:
    """Soft targets and the cross-entropy with the labels; terms with weight 0 are left out."""

    def terms(batch: Batch, ours: Tensor, theirs: Tensor) -> dict[str, Tensor]:
        found = {}
        if soft_weight:
            found["soft"] = soft_weight * soft_targets(ours, theirs, temperature)
        if label_weight:
            found["hard"] = label_weight * label_loss(ours, batch.labels)
        return found

    return terms


def imitate(
    student: nn.Module,
    teacher: nn.Module,
    batches: Any,
    recipe: Recipe,
    terms: Terms,
    *,
    seed: int,
    about: Mapping[str, Any],
    checkpoint: Path | str | None = None,
    evaluate: Any = None,
    answers: Tensor | None = None,
) -> list[dict[str, float]]:
    """Train a student on terms of its own and a frozen teacher's logits; return the history.

    The teacher runs as rarely as is exact (`kdnb.training.teacher.asked`).

    Args:
        batches: from :func:`kdnb.training.inputs.batches_for`.
        about: identifies a checkpoint, besides data and networks.
        evaluate: as in `kdnb.train`.
        answers: (samples, classes), the teacher's logits in the order of the data, if already
            available; the teacher is then not run.

    Raises:
        ValueError: for answers that do not match the data, or data that changes.
    """
    networks = {"student": student, "teacher": teacher}
    if answers is not None:
        check_answers(answers, batches)
    known = contextlib.nullcontext(lambda trained, batch: answers[batch.index])
    with (
        borrowed(student, teacher),
        asked(teacher, batches, recipe) if answers is None else known as taught,
    ):

        def losses(trained: Networks, batch: Batch) -> dict[str, Tensor]:
            aim = taught(trained, batch).float()
            return terms(batch, trained["student"](batch.images), aim)

        return fit(
            networks, batches, Update(("student",), losses, after=lambda: constrain(student)),
            recipe, seed=seed, checkpoint=checkpoint, answers=dict.fromkeys(networks, logits_of),
            evaluate=watching(evaluate, {"student": student}), identity={"method": dict(about)},
        )  # fmt: skip


def check_answers(answers: Tensor, batches: Any) -> None:
    """Require one row for each image of batches that never change."""
    if not isinstance(batches, Batches) or batches.augmented:
        raise ValueError(
            "answers belong to images in memory that never change: give Images, and a recipe "
            "without crops, flips and jitter; or leave them out."
        )
    if answers.ndim != 2 or len(answers) != len(batches.images):
        raise ValueError(
            f"answers must have a row for each of {len(batches.images)} images; got "
            f"{tuple(answers.shape)}."
        )
