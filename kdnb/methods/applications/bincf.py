"""BinCF (Wang et al. 2019): users and items as binary codes, taught by a graph network.

A code of 32 signs takes 4 bytes where a vector of 32 numbers takes 128, and two codes are compared
by counting the bits that differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdnb.losses import binary_codes, pair_distillation
from kdnb.losses.checks import check_number
from kdnb.methods.applications.recommend import Factors, learn_ranking


class BinaryFactors(Factors):
    """Matrix factorisation whose vectors are signs, times one number for all: codes keep their order by Hamming distance.

    The weights are real numbers, whose signs are the codes; gradients pass through the sign.
    """

    def __init__(self, users: int, items: int, width: int):
        super().__init__(users, items, width)
        self.scale = torch.nn.Parameter(torch.tensor(float(width) / 4))

    def codes(self) -> tuple[Tensor, Tensor]:
        """(users, width) and (items, width), each -1 or 1."""
        return binary_codes(self.users.weight), binary_codes(self.items.weight)

    def vectors(self) -> tuple[Tensor, Tensor]:
        users, items = self.codes()
        return users * (self.scale / self.users.embedding_dim), items


def rounded(teacher: Factors) -> tuple[Tensor, Tensor]:
    """The signs of a trained model's vectors, each number centred over its table first: no training, the control."""
    with torch.no_grad():
        users, items = (one - one.mean(0) for one in teacher.vectors())
        return binary_codes(users), binary_codes(items)


def packed_bytes(users: int, items: int, width: int, binary: bool) -> int:
    """What the tables of a model take: a bit for each sign, or four bytes for each number."""
    each = (width + 7) // 8 if binary else 4 * width
    return (users + items) * each


def distil_codes(
    student: BinaryFactors,
    teacher_scores: Tensor,
    seen: Tensor,
    *,
    teacher_weight: float = 1.0,
    first: int = 50,
    hard: int = 8,
    seed: int = 0,
    **plan,
) -> BinaryFactors:
    """Train codes on what users took and on the teacher's order of pairs of items, in place.

    For each user of a batch one item is drawn from the teacher's first ones, and `hard` others from
    all. The first item makes a pair with that other item against which the student's preference is
    furthest from the teacher's.

    Args:
        student: starts at random.
        teacher_scores: (users, items).
        seen: (users, items) booleans.
        teacher_weight: weight of the pairs.
        first: from so many of the teacher's best items one is drawn.
        hard: how many others are drawn; with 1 the pair is random.
        seed: for the pairs and the batches.
        plan: of `learn_ranking`.
    """
    check_number(least=0, teacher_weight=teacher_weight)
    check_number(least=1, whole=True, first=first, hard=hard)
    goal, stream = teacher_scores.detach(), torch.Generator().manual_seed(seed + 1)
    top = goal.topk(min(first, goal.shape[1])).indices

    def extra(users: Tensor) -> Tensor:
        items = torch.randint(seen.shape[1], (len(users), hard + 1), generator=stream)
        place = torch.randint(top.shape[1], (len(users),), generator=stream)
        items[:, 0] = top[users, place]
        ours, theirs = student.vectors()
        scores = (ours[users][:, None] * theirs[items]).sum(2)
        wanted = goal[users[:, None], items]
        with torch.no_grad():
            apart = ((wanted - wanted[:, :1]).sigmoid() - (scores - scores[:, :1]).sigmoid()).abs()
            worst = 1 + apart[:, 1:].argmax(1, keepdim=True)
        one, other = (table.gather(1, worst)[:, 0] for table in (scores, wanted))
        return teacher_weight * pair_distillation(scores[:, 0], one, wanted[:, 0], other)

    return learn_ranking(student, seen, extra=extra, seed=seed, **plan)
