"""ListMLE: the likelihood of an order, against loops and against all orders."""

import itertools
import math

import pytest
import torch
from draws import draw, draw_wide
from loops import rows

from kdnb.losses import darkrank, listmle


@pytest.mark.parametrize("shape", [(1, 2), (4, 5), (2, 30)])
def test_against_loops(shape):
    student, teacher, total = draw(*shape), draw(*shape, seed=1), 0.0
    for s, t in rows(student, teacher):
        order = sorted(range(len(t)), key=lambda item: -t[item])
        for place, item in enumerate(order):
            rest = sum(math.exp(s[k]) for k in order[place:])
            total -= math.log(math.exp(s[item]) / rest)
    assert listmle(student, teacher).item() == pytest.approx(total / len(student), rel=1e-9)


def test_the_likelihoods_of_all_orders_add_up_to_1():
    scores = draw(1, 4)
    orders = itertools.permutations(range(4))
    chances = [torch.exp(-listmle(scores, torch.tensor([order]).double())) for order in orders]
    assert sum(chances).item() == pytest.approx(1, rel=1e-12)


def test_equal_scores_make_every_order_equally_likely():
    value = listmle(torch.zeros(3, 5), draw(3, 5))
    assert value.item() == pytest.approx(math.log(math.factorial(5)), rel=1e-6)


def test_only_the_teachers_order_counts():
    student, teacher = draw_wide(4, 6), draw_wide(4, 6, seed=1)
    torch.testing.assert_close(listmle(student, teacher**3), listmle(student, teacher))
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    moved = listmle(student[:, order], teacher[:, order])
    torch.testing.assert_close(moved, listmle(student, teacher))
    teacher.requires_grad_()
    loss = listmle(student.requires_grad_(), teacher)
    assert torch.autograd.grad(loss, teacher, allow_unused=True) == (None,)


def test_it_falls_to_0_where_the_order_is_right_and_certain():
    teacher = draw(4, 6)
    ranks = teacher.argsort(1).argsort(1).double()
    values = [listmle(scale * ranks, teacher).item() for scale in (1.0, 10.0, 100.0)]
    assert values == sorted(values, reverse=True) and 0 <= values[-1] < 1e-30
    assert listmle(-10 * ranks, teacher) > 100


def test_equal_teacher_scores_keep_the_order_of_the_items():
    student = draw(1, 3)
    falling = torch.tensor([[3.0, 2.0, 1.0]])
    torch.testing.assert_close(listmle(student, torch.zeros(1, 3)), listmle(student, falling))


def test_darkranks_hard_form_is_listmle_of_its_scores():
    points, guides = draw(5, 3), draw(5, 4, seed=1)
    lists = []
    for query in range(5):
        others = [i for i in range(5) if i != query]
        scores = [-((points[others] - points[query]).norm(dim=1) ** 2)]
        scores.append(-((guides[others] - guides[query]).norm(dim=1) ** 2))
        lists.append(listmle(*(one[None] for one in scores)))
    expected = darkrank(points, guides, "hard", 1.0, 2.0, list_length=4)
    torch.testing.assert_close(torch.stack(lists).mean(), expected)


def test_wrong_scores_are_named():
    for shape in ((3,), (2, 1), (0, 3)):
        with pytest.raises(ValueError, match="student_scores must be scores"):
            listmle(torch.zeros(shape), torch.zeros(shape))
    with pytest.raises(ValueError, match=r"student_scores \(2, 3\) and teacher_scores \(2, 4\)"):
        listmle(torch.zeros(2, 3), torch.zeros(2, 4))
