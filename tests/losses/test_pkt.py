"""Probabilistic transfer: loops, invariances, close pairs."""

import math

import pytest
import torch
from draws import draw_wide
from loops import SHAPES, distance, dot, lists

from kdnb.losses import (
    _arithmetic,
    hybrid_transfer,
    probabilistic_transfer,
)


def rotation(size, seed=9):
    return torch.linalg.qr(draw_wide(size, size, seed=seed)).Q


def naive_probabilities(x, kernel, keep):
    n = len(x)
    table = [[kernel(x[j], x[i]) if keep or i != j else 0.0 for i in range(n)] for j in range(n)]
    return [[value / sum(row) for value in row] for row in table]


def cosine_kernel(a, b):
    return (dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)) + 1) / 2


def student_t(a, b):
    return 1 / (1 + distance(a, b))


def naive_transfer(student, teacher, kernel, keep, jeffreys):
    p = naive_probabilities(lists(teacher), kernel, keep)
    q = naive_probabilities(lists(student), kernel, keep)
    total, n = 0.0, len(p)
    for j in range(n):
        for i in range(n):
            if keep or i != j:
                weight = p[j][i] - q[j][i] if jeffreys else p[j][i]
                total += weight * math.log(p[j][i] / q[j][i])
    return total / n**2 if keep else total


def test_the_authors_floor_leaves_a_trace_of_gradient():
    """1e-7 inside the logarithm: PKT's code does not quite stand still at student = teacher."""
    student = draw_wide(5, 4).requires_grad_()
    value = probabilistic_transfer(student, student.detach(), "authors")
    (gradient,) = torch.autograd.grad(value, student)
    assert value == 0
    assert 0 < gradient.abs().max() < 1e-7


@pytest.mark.parametrize(("one", "other"), SHAPES)
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_transfer_against_loops(one, other, limit, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    s, t = draw_wide(*one), draw_wide(*other, seed=1)
    hybrid = [
        sum(naive_transfer(s, t, kernel, keep, True) for kernel in (cosine_kernel, student_t))
        for keep in (False, True)
    ]
    for got, expected in (
        (probabilistic_transfer(s, t), naive_transfer(s, t, cosine_kernel, False, False)),
        (hybrid_transfer(s, t), hybrid[0]),
        (hybrid_transfer(s, t, "authors"), hybrid[1]),
    ):
        assert got.item() == pytest.approx(expected, rel=1e-9)
    authors = probabilistic_transfer(s, t, "authors").item()
    assert authors == pytest.approx(naive_transfer(s, t, cosine_kernel, True, False), rel=1e-4)


def test_pkt_sees_no_rotation_and_no_scales():
    s, t = draw_wide(6, 4), draw_wide(6, 5, seed=1)
    turned = s @ rotation(4)
    each = torch.rand(6, 1, dtype=torch.float64) + 0.5
    torch.testing.assert_close(
        probabilistic_transfer(2.5 * turned, t), probabilistic_transfer(s, t)
    )
    torch.testing.assert_close(
        probabilistic_transfer(s, 2.5 * t @ rotation(5)), probabilistic_transfer(s, t)
    )
    torch.testing.assert_close(
        probabilistic_transfer(each * s, t / each), probabilistic_transfer(s, t)
    )


def test_pkt_refuses_wrong_options():
    s = torch.ones(4, 3)
    for loss in (probabilistic_transfer, hybrid_transfer):
        with pytest.raises(ValueError, match='variant must be "paper" or "authors"; got \'mean\''):
            loss(s, s, "mean")
