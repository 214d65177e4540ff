"""ListNet: the probability of coming first, derived from all orders."""

import itertools
import math

import pytest
import torch
from draws import draw, draw_wide
from loops import rows

from kdnb.losses import listnet, soft_targets


def first(scores):
    """The probability of each item to come first, summed over all orders of Plackett and Luce."""
    found = [0.0] * len(scores)
    for order in itertools.permutations(range(len(scores))):
        chance, rest = 1.0, list(order)
        for item in order:
            chance *= math.exp(scores[item]) / sum(math.exp(scores[k]) for k in rest)
            rest.remove(item)
        found[order[0]] += chance
    return found


@pytest.mark.parametrize("shape", [(1, 2), (3, 4), (2, 5)])
def test_against_all_orders(shape):
    student, teacher = draw(*shape), draw(*shape, seed=1)
    total = 0.0
    for s, t in rows(student, teacher):
        total -= sum(p * math.log(q) for p, q in zip(first(t), first(s), strict=True))
    assert listnet(student, teacher).item() == pytest.approx(total / len(student), rel=1e-9)


def test_it_is_kds_cross_entropy_at_temperature_1():
    student, teacher = draw_wide(4, 6), draw_wide(4, 6, seed=1)
    entropy = torch.special.entr(teacher.softmax(1)).sum(1).mean()
    expected = soft_targets(student, teacher, 1.0) + entropy
    torch.testing.assert_close(listnet(student, teacher), expected)
    torch.testing.assert_close(listnet(teacher, teacher), entropy)


def test_the_order_of_the_items_is_free():
    student, teacher = draw_wide(4, 6), draw_wide(4, 6, seed=1)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    moved = listnet(student[:, order], teacher[:, order])
    torch.testing.assert_close(moved, listnet(student, teacher))


def test_items_that_are_left_out():
    out = -math.inf
    both = [torch.tensor([[0.0, x, out]], requires_grad=True) for x in (1.0, 2.0)]
    value = listnet(*both)
    plain = [torch.tensor([[0.0, x]]) for x in (1.0, 2.0)]
    torch.testing.assert_close(value, listnet(*plain))
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, both))


@pytest.mark.parametrize("shape", [(3,), (2, 1), (0, 3), (2, 3, 4)])
def test_wrong_scores_are_named(shape):
    with pytest.raises(ValueError, match="student_scores must be scores"):
        listnet(torch.zeros(shape), torch.zeros(shape))
    with pytest.raises(ValueError, match=r"student_scores \(2, 3\) and teacher_scores \(2, 4\)"):
        listnet(torch.zeros(2, 3), torch.zeros(2, 4))
