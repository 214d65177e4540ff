"""Cross-modal action recognition (Thoker and Gall 2019): hard targets and mutual learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdnb.data import as_batches
from kdnb.losses.checks import check_number
from kdnb.methods.cross_modal.views import Seeing, pair_of
from kdnb.methods.offline.distil import train
from kdnb.methods.online.dml import mutual
from kdnb.methods.teachers import check_pair
from kdnb.training import Fit, Recipe
from kdnb.training.answers import ask, logits_of
from kdnb.training.borrowed import evaluating
from kdnb.training.first import tried


def cross_action(
    students: Sequence[nn.Module],
    teacher: nn.Module,
    inputs: Any,
    recipe: Recipe | None = None,
    *,
    views: tuple[str | int, str | int],
    weight: float = 1.0,
    **options: Any,
) -> Fit:
    r"""Train students on one view of unlabelled pairs, from a teacher's decisions on the other.

    .. math:: L_a = H(\hat y, p_a) + \frac{w}{K - 1} \sum_{b \ne a} KL(p_b \| p_a), \qquad
        \hat y = \arg\max_c v_c(x^*)

    The teacher's soft answers are not used; according to the paper, its decisions and the exchange
    between students work better.

    Args:
        students: one or more networks that take only their view; trained in place. A single student
            learns only from the decisions.
        teacher: takes only its view; frozen. It should not have been trained on these pairs, on
            which it would be overconfident.
        inputs: a dict or a tuple of tensors, views of the same samples. Labels are not used.
        views: the students' and the teacher's view, as keys or positions.
        weight: w, of the mutual term.
        options: passed to :func:`kdnb.methods.online.dml.mutual` (`train` for one student), such as
            `seed`, and the recipe's fields.

    Returns:
        The history of `mutual`, and the students in `Seeing`.

    Raises:
        TypeError: for a single student instead of a list, or anything but a module.
        ValueError: for no student, one that shares a part with the teacher, or inputs without these
            views.

    Departures: the paper's abstract states that cross-entropy with mutual learning of a small
    ensemble does better than the KL divergence. That it is the cross-entropy with the teacher's
    first choice is recalled, and we do not know the weight of the mutual term. With three students
    or more, ours is the mean over the others.
    """
    if isinstance(students, nn.Module) and not isinstance(students, nn.ModuleList):
        raise TypeError("cross_action takes a list of students; got one module: [student].")
    if not len(students):
        raise ValueError("cross_action trains one student or more; got none.")
    check_number(least=0, weight=weight)
    own, other = pair_of("views", views)
    for number, student in enumerate(students, 1):
        check_pair(student, teacher, (f"student {number}", "teacher"))
    decided = decisions(Seeing(teacher, other), inputs)
    seeing = [Seeing(student, own) for student in students]
    if len(seeing) == 1:
        return train(seeing[0], (inputs, decided), recipe, **options)
    return mutual(seeing, (inputs, decided), recipe, weight=weight, **options)


def decisions(teacher: nn.Module, inputs: Any, batch_size: int = 500) -> Tensor:
    """The teacher's hard answers, (samples,) int64, in the order of the inputs.

    Args:
        teacher: inputs -> logits (batch, classes).
        inputs: a tensor, or a dict or tuple of tensors.
    """
    first = next(iter(as_batches((inputs, None), batch_size, labels="none", shuffle=False)))
    tried("teacher", teacher, first, learns=False)
    found = []
    with evaluating(teacher), torch.no_grad():
        for batch in as_batches((inputs, None), batch_size, labels="none", shuffle=False):
            found.append(logits_of(ask(teacher, batch.images)).argmax(1))
    return torch.cat(found)
