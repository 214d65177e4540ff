"""Ranking distillation (Tang and Wang 2018): the teacher's top items count as positives."""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses import ranking_distillation
from kdnb.losses.checks import check_number
from kdnb.methods.applications.recommend import Factors, learn_ranking


def distil_ranking(
    student: Factors,
    teacher_scores: Tensor,
    seen: Tensor,
    *,
    teacher_weight: float,
    kept: int = 10,
    position_scale: float = 10.0,
    discrepancy_scale: float | None = None,
    lists: int = 64,
    **plan,
) -> Factors:
    """Train a student, in place, on the users' items and on its teacher's top items.

    Args:
        student: small.
        teacher_scores: (users, items); items that a user already has are left out of the teacher's
            order.
        seen: (users, items) booleans.
        teacher_weight: weight of the teacher's term.
        kept, position_scale, discrepancy_scale: as in `losses.ranking_distillation`.
        lists: the most samples of a batch whose user's full list of items is ranked.
        plan: passed to `learn_ranking`.
    """
    check_number(least=0, teacher_weight=teacher_weight)
    check_number(least=1, whole=True, lists=lists)
    goal = teacher_scores.detach().masked_fill(seen, -torch.inf)

    def extra(users: Tensor) -> Tensor:
        some = users[:lists].unique()
        scores = student(some)
        return teacher_weight * ranking_distillation(
            scores, goal[some], kept, position_scale, discrepancy_scale
        )

    return learn_ranking(student, seen, extra=extra, **plan)
