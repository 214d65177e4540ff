"""Votes on distances, against loops."""

import itertools
import math

import pytest
import torch
from draws import draw
from loops import square

from kdnb.losses import _arithmetic, all_triplets, relative_dissimilarity


def naive_relative(student, teachers, margin):
    s, total, count = student.tolist(), 0.0, 0
    for q, a, b in itertools.permutations(range(len(s)), 3):
        if a < b:
            votes = 0
            for teacher in teachers:
                t = teacher.tolist()
                votes += 1 if square(t[q], t[a]) < square(t[q], t[b]) else -1
            count += 1
            if votes:
                near, far = (a, b) if votes > 0 else (b, a)
                gap = math.sqrt(square(s[q], s[near])) - math.sqrt(square(s[q], s[far]))
                total += max(0, gap + margin)
    return total / count


@pytest.mark.parametrize("count", [1, 2, 3])
def test_votes_against_loops(count):
    s = draw(5, 3)
    teachers = [draw(5, 4, seed=1), draw(5, 2, seed=2), draw(5, 6, seed=3)][:count]
    got = relative_dissimilarity(s, teachers, margin=0.2).item()
    assert got == pytest.approx(naive_relative(s, teachers, 0.2), rel=1e-12)


def test_votes_of_a_matching_student():
    teacher = draw(6, 3)
    student = teacher.clone().requires_grad_()
    loss = relative_dissimilarity(student, [teacher])
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max() < 1e-10


def test_votes_of_a_few_queries_at_a_time_are_the_same(monkeypatch):
    student, teachers = draw(7, 3).requires_grad_(), [draw(7, 4, seed=1), draw(7, 2, seed=2)]
    found = []
    for triples in (7**3, 2 * 7**2, 1):
        monkeypatch.setattr(_arithmetic, "TRIPLES", triples)
        loss = relative_dissimilarity(student, teachers, margin=0.2)
        found.append((loss.detach(), torch.autograd.grad(loss, student)[0]))
    named = relative_dissimilarity(student, teachers, all_triplets(7), margin=0.2)
    found.append((named.detach(), torch.autograd.grad(named, student)[0]))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_teachers_are_needed():
    with pytest.raises(ValueError, match="teachers must be a list of at least 1; got 0"):
        relative_dissimilarity(draw(4, 3), [])
