"""Checks of teachers and students before training; errors name the network at fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.names import brief
from kdnb.training.borrowed import shared_part
from kdnb.training.first import check_module, tried


def check_pair(student: Any, teacher: Any, names: tuple[str, str] = ("student", "teacher")) -> None:
    """Require two modules without common parts: one is trained, the other is not.

    Args:
        names: names of the trained and the fixed module in an error.

    Raises:
        TypeError: for anything but a module.
        ValueError: for a student that is its own teacher, holds it or is held by it, or shares
            weights with it.
    """
    moves, stays = names
    check_module(moves, student)
    if isinstance(teacher, (list, tuple, nn.ModuleList)):
        raise TypeError(f"the {stays} is one torch module here; got a list of them.")
    check_module(stays, teacher, learns=False)
    theirs = {id(part) for part in teacher.modules()}
    if id(student) in theirs or any(part is teacher for part in student.modules()):
        own = (
            "its own teacher" if names == ("student", "teacher") else f"the {stays} network as well"
        )
        raise ValueError(f"the {moves} is {own}: give copy.deepcopy(network) as one of them.")
    if shared := shared_part(student, teacher):
        raise ValueError(
            f"{moves} and {stays} share {shared}, which would move and stay at once: give the "
            f"{stays} copies of its own (copy.deepcopy)."
        )


def check_teachers(verb: str, student: nn.Module, teachers: Sequence[nn.Module]) -> list[nn.Module]:
    """The teachers as a non-empty list of modules that share no weights with the student.

    Raises:
        TypeError: for anything but a list of modules.
        ValueError: for no teacher, or a student that is its own teacher.
    """
    if isinstance(teachers, nn.Module) and not isinstance(teachers, nn.ModuleList):
        raise TypeError(f"{verb} takes a list of teachers; got one module: [teacher].")
    if isinstance(teachers, (str, Mapping)) or not isinstance(teachers, Iterable):
        raise TypeError(f"{verb} takes a list of teachers; got {brief(teachers)}.")
    check_module("student", student)
    found = list(teachers)
    if not found:
        raise ValueError(f"{verb} needs at least one teacher; got none.")
    for number, teacher in enumerate(found, 1):
        check_module(f"teacher {number}", teacher, learns=False)
        if shared := shared_part(student, teacher):
            raise ValueError(f"student and teacher {number} share {shared}: give it copies.")
    return found


def check_answers(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    first: Batch,
    classes: Sequence[int] | None = None,
    *,
    same: bool = True,
) -> None:
    """Run all networks on a first batch, before any training.

    Args:
        classes: the classes of each teacher; those of the student if left out.
        same: whether the classes must agree, which is not needed if only layers are compared.

    Raises:
        ValueError: naming the network that cannot take the inputs, has different classes or returns
            NaN; or a student with nothing to learn.
    """
    ours = tried("student", student, first)
    check_no_nan("the student", ours)
    for number, teacher in enumerate(teachers, 1):
        theirs = tried(f"teacher {number}", teacher, first, learns=False)
        wanted = tuple(ours.shape) if classes is None else (len(ours), classes[number - 1])
        if same and tuple(theirs.shape) != wanted:
            raise ValueError(
                f"teacher {number} must answer {wanted}, a logit for each class that it teaches; got "
                f"{tuple(theirs.shape)}. Teachers of other classes are for "
                "kdnb.methods.multi_teacher.uhc.unify."
            )
        check_no_nan(f"teacher {number}", theirs)


def check_no_nan(name: str, logits: Tensor) -> None:
    """Raise `ValueError` for an answer that holds NaN."""
    if bool(logits.isnan().any()):
        raise ValueError(f"{name} answers with NaN: look at its weights and at the inputs.")
