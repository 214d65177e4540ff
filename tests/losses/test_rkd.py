"""RKD's distances and angles: loops, invariances, close pairs."""

import math

import pytest
import torch
from draws import draw_wide
from loops import SHAPES, distance, dot, huber, lists

from kdnb.losses import (
    _arithmetic,
    rkd_angle,
    rkd_distance,
)


def rotation(size, seed=9):
    return torch.linalg.qr(draw_wide(size, size, seed=seed)).Q


def naive_relative(x):
    n = len(x)
    pairs = [distance(x[i], x[j]) for i in range(n) for j in range(n) if i != j]
    mean = sum(pairs) / len(pairs)
    return [[distance(a, b) / mean for b in x] for a in x]


def naive_rkd_distance(student, teacher):
    s, t = naive_relative(lists(student)), naive_relative(lists(teacher))
    n = len(s)
    return sum(huber(s[i][j], t[i][j]) for i in range(n) for j in range(n) if i != j)


def naive_cosine(a, b, c):
    left = [x - y for x, y in zip(a, b, strict=True)]
    right = [x - y for x, y in zip(c, b, strict=True)]
    return dot(left, right) / math.sqrt(dot(left, left) * dot(right, right))


def naive_rkd_angle(student, teacher):
    s, t = lists(student), lists(teacher)
    n, total = len(s), 0.0
    for i in range(n):
        for j in range(n):
            for k in range(n):
                if len({i, j, k}) == 3:
                    first = naive_cosine(s[i], s[j], s[k])
                    total += huber(first, naive_cosine(t[i], t[j], t[k]))
    return total


@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_angles_at_and_to_the_same_sample_do_not_count(limit, monkeypatch):
    """The sum is over distinct i, j, k: an angle of a sample with itself is never compared."""
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    s, t = draw_wide(5, 3), draw_wide(5, 3, seed=1)
    s[1] = s[0]
    distinct = 0.0
    for j in range(5):
        for i, k in ((i, k) for i in range(5) for k in range(5) if len({i, j, k}) == 3):
            ends = ((s[i] - s[j], s[k] - s[j]), (t[i] - t[j], t[k] - t[j]))
            cosines = [torch.cosine_similarity(a, b, dim=0).item() for a, b in ends]
            distinct += huber(*cosines)
    assert rkd_angle(s, t).item() == pytest.approx(distinct, rel=1e-9)


@pytest.mark.parametrize(("one", "other"), SHAPES)
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_relations_of_distance_and_angle_against_loops(one, other, limit, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    s, t = draw_wide(*one), draw_wide(*other, seed=1)
    n = len(s)
    for got, expected in (
        (rkd_distance(s, t), naive_rkd_distance(s, t)),
        (rkd_distance(s, t, "authors"), naive_rkd_distance(s, t) / n**2),
        (rkd_angle(s, t), naive_rkd_angle(s, t)),
        (rkd_angle(s, t, "authors"), naive_rkd_angle(s, t) / n**3),
    ):
        assert got.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_angles_of_a_few_samples_at_a_time_are_the_same(limit, variant, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    student, teacher = draw_wide(7, 4).requires_grad_(), draw_wide(7, 5, seed=1)
    found = []
    for triples in (7**3, 2 * 7**2, 1):  # all at once; 2, 2, 2 and 1; one
        monkeypatch.setattr(_arithmetic, "TRIPLES", triples)
        loss = rkd_angle(student, teacher, variant)
        found.append((loss.detach(), torch.autograd.grad(loss, student)[0]))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-10, atol=1e-12)


def test_the_memory_of_angles_does_not_grow_with_the_cube_of_the_batch(monkeypatch):
    monkeypatch.setattr(_arithmetic, "TRIPLES", 2**14)
    student, teacher = draw_wide(64, 3).requires_grad_(), draw_wide(64, 3, seed=1)
    kept = []

    def keep(value):
        kept.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss = rkd_angle(student, teacher)
    assert max(kept) <= 2**14
    assert torch.isfinite(torch.autograd.grad(loss, student)[0]).all()


def test_rkd_sees_no_motion_and_no_scale():
    s, t = draw_wide(6, 4), draw_wide(6, 5, seed=1)
    turned = s @ rotation(4)
    torch.testing.assert_close(
        rkd_distance(2.5 * turned + draw_wide(1, 4, seed=3), t), rkd_distance(s, t)
    )
    torch.testing.assert_close(
        rkd_angle(2.5 * turned + draw_wide(1, 4, seed=3), t), rkd_angle(s, t)
    )


def test_rkd_refuses_wrong_options():
    s = torch.ones(4, 3)
    with pytest.raises(ValueError, match="at least 3 samples"):
        rkd_angle(s[:2], s[:2])
    for loss in (rkd_distance, rkd_angle):
        with pytest.raises(ValueError, match='variant must be "paper" or "authors"; got \'mean\''):
            loss(s, s, "mean")
