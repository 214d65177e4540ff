"""IRG's edges and transformation: loops, invariances, errors."""

import pytest
import torch
from draws import draw, draw_wide
from loops import SHAPES, distance, lists
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.losses import (
    _arithmetic,
    irg_edges,
    irg_transformation,
)


def naive_transformation(student_first, student_last, teacher_first, teacher_last, relative=True):
    tables = []
    for first, last in ((student_first, student_last), (teacher_first, teacher_last)):
        moves = [((last[b] - first[b]) ** 2).sum().item() for b in range(len(first))]
        tables.append([move / max(moves) if relative else move for move in moves])
    return sum((a - b) ** 2 for a, b in zip(*tables, strict=True)) / len(student_first)


def four(student=(3, 4), teacher=(3, 4), size=(2, 3), teacher_size=(4, 1), batch=3):
    """Maps of two layers of student and teacher; not square, of different sizes."""
    return (
        draw(batch, student[0], *size),
        draw(batch, student[1], *size, seed=1),
        draw(batch, teacher[0], *teacher_size, seed=2),
        draw(batch, teacher[1], *teacher_size, seed=3),
    )


def rotation(size, seed=9):
    return torch.linalg.qr(draw_wide(size, size, seed=seed)).Q


def naive_edges(student, teacher, relative=True):
    tables = []
    for x in (lists(student), lists(teacher)):
        squares = [distance(a, b) ** 2 for a in x for b in x]
        tables.append([value / max(squares) if relative else value for value in squares])
    return sum((a - b) ** 2 for a, b in zip(*tables, strict=True)) / len(student) ** 2


def test_transformation_against_loops():
    same = four(student=(3, 3), teacher=(2, 2))
    got = irg_transformation(*same, variant="paper").item()
    assert got == pytest.approx(naive_transformation(*same, relative=False), rel=1e-12)
    pooled = [torch.tensor([[[[float(channel.mean())]] for channel in sample] for sample in maps],
                           dtype=torch.float64) for maps in same]  # fmt: skip
    got = irg_transformation(*same, variant="authors").item()
    assert got == pytest.approx(naive_transformation(*pooled), rel=1e-12)
    assert got != pytest.approx(irg_transformation(*same, variant="paper").item(), rel=1e-3)


def test_the_larger_layer_is_average_pooled():
    big, small = draw(2, 3, 4, 6), draw(2, 3, 2, 2, seed=1)
    reduced = F.adaptive_avg_pool2d(big, (2, 2))
    other = draw(2, 3, 2, 2, seed=2), draw(2, 3, 2, 2, seed=3)
    torch.testing.assert_close(
        irg_transformation(big, small, *other), irg_transformation(reduced, small, *other)
    )


def test_transformation_gradients_of_four_maps():
    same = tuple(m.requires_grad_() for m in four((3, 3), (2, 2), size=(2, 2), batch=2))
    assert gradcheck(irg_transformation, same)


def test_irg_matching_student_has_no_loss_and_no_gradient():
    first, last = draw(3, 4, 3, 5).requires_grad_(), draw(3, 4, 3, 5, seed=1).requires_grad_()
    goal = first.detach().clone(), last.detach().clone()
    loss = irg_transformation(first, last, *goal)
    for gradient in torch.autograd.grad(loss, (first, last), allow_unused=True):
        assert gradient.abs().max() < 1e-12
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_transformation_names_wrong_shapes():
    maps, wide = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4)
    with pytest.raises(ValueError, match=r"teacher_first \(2, 3, .* and teacher_last \(2, 5"):
        irg_transformation(maps, maps, maps, wide)


@pytest.mark.parametrize(("one", "other"), SHAPES)
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_edges_against_loops(one, other, limit, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    s, t = draw_wide(*one), draw_wide(*other, seed=1)
    assert irg_edges(s, t).item() == pytest.approx(naive_edges(s, t), rel=1e-9)
    got = irg_edges(s, t, "paper").item()
    assert got == pytest.approx(naive_edges(s, t, relative=False), rel=1e-9)


def test_irg_sees_no_motion_and_no_scale():
    s, t = draw_wide(6, 4), draw_wide(6, 5, seed=1)
    turned = s @ rotation(4)
    torch.testing.assert_close(
        irg_edges(2.5 * turned + draw_wide(1, 4, seed=3), t), irg_edges(s, t)
    )
