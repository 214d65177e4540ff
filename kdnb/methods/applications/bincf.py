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
    """Matrix factorisation with sign vectors, times one common factor.

    The order of scores equals the order by Hamming distance. The weights are real numbers, whose
    signs are the codes; gradients pass through the sign.
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
    """A control without training: the signs of a model's vectors, centred per table first."""
    with torch.no_grad():
        users, items = (one - one.mean(0) for one in teacher.vectors())
        return binary_codes(users), binary_codes(items)


def packed_bytes(users: int, items: int, width: int, binary: bool) -> int:
    """The size of a model's tables: one bit per sign, or four bytes per number."""
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
    """Train codes, in place, on the users' items and on the teacher's order of item pairs.

    For each user of a batch, one item is drawn from the teacher's top items, and `hard` others from
    all items. The first item is paired with that other item for which the student's preference is
    furthest from the teacher's.

    Args:
        student: starts at random.
        teacher_scores: (users, items).
        seen: (users, items) booleans.
        teacher_weight: weight of the pairs.
        first: the number of the teacher's top items from which one is drawn.
        hard: the number of other items drawn; with 1 the pair is random.
        seed: for the pairs and the batches.
        plan: passed to `learn_ranking`.
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
