"""Convert answers for losses on logits: rows (positions, classes) without ignored entries."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from kdnb.data import Batch
from kdnb.training.answers import places, rows, two_logits
from kdnb.training.targets import one_a_place

# The methods with a form for one logit of a binary task, and what they then compare.
BINARY = {"kd": two_logits, "ctkd": two_logits, "ttm": two_logits, "logit_regression": Tensor.clone}
# Methods whose divergence leaves out the classes that the teacher excludes, per sample.
DIVERGENCES = ("kd", "ctkd")


def is_plain(*views: Any) -> bool:
    """Whether logits are (batch, classes), of two classes or more."""
    return all(view.logits.ndim == 2 and view.logits.shape[1] > 1 for view in views)


def as_rows(view: Any) -> Any:
    """A view whose logits have two axes: one logit per sample, (batch,), becomes (batch, 1)."""
    if view.logits.ndim > 1:
        return view
    view = copy.copy(view)
    view.logits = rows(view.logits)
    return view


def excludes(*views: Any) -> bool:
    """Whether classes are masked, by logits of minus infinity."""
    return any(bool(torch.isneginf(view.logits).any()) for view in views)


def check_places(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Require dense logits of the same places, which rows alone would not tell.

    Raises:
        ValueError: with both shapes.
    """
    ours, theirs = places(student_logits), places(teacher_logits)
    if ours != theirs and max(len(ours), len(theirs)) > 1:
        raise ValueError(
            "logits must be of the same places; got student_logits "
            f"{tuple(student_logits.shape)} and teacher_logits {tuple(teacher_logits.shape)}: bring "
            "one to the other, such as output=(None, lambda z: torch.nn.functional.interpolate(z, "
            "size))."
        )


def comparable(
    name: str, title: str, student: Any, teacher: Any, batch: Batch, ignore_index: int, masked: bool
) -> tuple[Any, Any, Batch]:
    """Two views and a batch with logits (places, classes) and labels (places,).

    Args:
        name, title: names of the method.
        masked: whether classes may be masked by minus infinity.

    Raises:
        ValueError: for dense logits of different positions; and for one logit, or for masked
            classes, if the method does not support them.
    """
    _, labels, _, _ = batch  # whether the method itself reads them is seen by `batch.labels`
    check_places(student.logits, teacher.logits)
    ours, theirs = rows(student.logits), rows(teacher.logits)
    if ours.shape[1] == theirs.shape[1] == 1:
        if name not in BINARY:
            raise ValueError(
                f"{title} has no form for one logit: give two logits, one for each class, or take "
                'method="kd".'
            )
        ours, theirs = BINARY[name](ours), BINARY[name](theirs)
    whole = isinstance(labels, Tensor) and not labels.is_floating_point()
    if whole and student.logits.ndim > 2:
        labels = one_a_place(labels, student.logits)
    if whole and student.logits.ndim > 2 and tuple(labels.shape) == places(student.logits):
        labels = labels.reshape(-1)
        kept = labels != ignore_index
        ours, theirs, labels = ours[kept], theirs[kept], labels[kept]
    if masked and ours.shape == theirs.shape:
        ours, theirs, kept = _without_masked(name, title, ours, theirs, labels if whole else None)
        labels = kept if whole else labels
    student, teacher = copy.copy(student), copy.copy(teacher)
    student.logits, teacher.logits = ours, theirs
    return student, teacher, batch._replace(labels=labels)


def _without_masked(
    name: str, title: str, ours: Tensor, theirs: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits without the classes excluded by both networks for all samples; labels renumbered."""
    away = (torch.isneginf(ours) & torch.isneginf(theirs)).all(0)
    if bool((torch.isneginf(ours) & ~torch.isneginf(theirs)).any()):
        raise ValueError(
            f"the student excludes classes (logits of minus infinity) that the teacher allows: "
            f"{title} would be infinite."
        )
    ours, theirs = ours[:, ~away], theirs[:, ~away]
    if name not in DIVERGENCES and bool(torch.isneginf(theirs).any()):
        raise ValueError(
            f"{title} takes masked classes (logits of minus infinity) where both networks mask the "
            'same ones for all samples; for other masks take method="kd".'
        )
    if labels is not None and len(labels) == len(ours):
        known = (labels >= 0) & (labels < len(away))
        if bool(away[labels[known]].any()):
            raise ValueError("a label names a class that is masked (its logit is minus infinity).")
        labels = torch.where(known, ((~away).cumsum(0) - 1)[labels.clamp(0, len(away) - 1)], labels)
    return ours, theirs, labels
