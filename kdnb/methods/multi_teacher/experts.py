"""Frozen teachers that know different classes, asked together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import Batch
from kdnb.losses import connected_classes
from kdnb.training.answers import Output, ask, logits_of
from kdnb.training.borrowed import shared_part
from kdnb.training.first import check_module, tried


class Experts(nn.Module):
    """Several classifiers as one network: their logits side by side, (batch, sum of their classes).

    Args:
        members: the classifiers; each is asked in its own way.
        output: where the logits are in what a classifier returns, see `kdnb.train`.
    """

    takes_whole = True

    def __init__(self, members: Sequence[nn.Module], output: Output = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.output = output

    def forward(self, inputs: Any) -> Tensor:
        said = [logits_of(ask(member, inputs), self.output) for member in self.members]
        return torch.cat([logits.float() for logits in said], 1)


def check_experts(
    student: nn.Module,
    experts: Sequence[nn.Module],
    class_sets: Sequence[Sequence[int]],
    first: Batch,
    output: tuple[Output, Output] = (None, None),
) -> int:
    """Require classifiers with a logit for each of their classes, and a student with one for all.

    Args:
        class_sets: for each classifier the numbers of its classes.
        first: a batch, about which all are asked.
        output: the student's and the classifiers', see `kdnb.train`.

    Returns:
        The number of all classes.

    Raises:
        ValueError: where numbers of classes do not fit, or student and classifier share weights.
    """
    if isinstance(experts, nn.Module) or not isinstance(experts, Sequence) or not experts:
        raise TypeError("give the classifiers as a list of modules, at least one.")
    if len(experts) != len(class_sets):
        raise ValueError(
            f"class_sets must have one list for each of {len(experts)} classifiers; got "
            f"{len(class_sets)}."
        )
    classes = 1 + max((max(members, default=0) for members in class_sets), default=0)
    connected_classes(class_sets, classes)
    check_module("student", student)
    found = tried("student", student, first, output[0])
    if found.ndim != 2 or found.shape[1] != classes:
        raise ValueError(
            f"the student must answer (batch, {classes}), one logit for each class of the "
            f"class_sets; got {tuple(found.shape)}."
        )
    for place, (expert, members) in enumerate(zip(experts, class_sets, strict=True)):
        name = f"classifier {place}"
        check_module(name, expert, learns=False)
        if shared := shared_part(student, expert):
            raise ValueError(
                f"student and {name} share {shared}, which would move and stay at once."
            )
        said = tried(name, expert, first, output[1], learns=False)
        if said.ndim != 2 or said.shape[1] != len(members):
            raise ValueError(
                f"{name} must answer (batch, {len(members)}), one logit for each class of its "
                f"class set; got {tuple(said.shape)}."
            )
    return classes
