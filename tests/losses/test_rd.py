"""Ranking distillation: its weights against loops, its limits, items that are left out."""

import math

import pytest
import torch
from draws import draw, draw_wide
from loops import rows

from kdnb.losses import ranking_distillation


def naive(student, teacher, kept, position, discrepancy, variant):
    total = 0.0
    for s, t in rows(student, teacher):
        order = sorted(range(len(t)), key=lambda item: -t[item])[:kept]
        falling = [math.exp(-(r + 1) / position) for r in range(kept)]
        weights = [one / sum(falling) for one in falling]
        if discrepancy is not None:
            for r, item in enumerate(order):
                rank = 1 + sum(other > s[item] for other in s)
                weights[r] *= math.tanh(max(discrepancy * (rank - (r + 1)), 0.0))
            if variant == "paper" and sum(weights):
                weights = [one / sum(weights) for one in weights]
        for one, item in zip(weights, order, strict=True):
            total -= one * math.log(1 / (1 + math.exp(-s[item])))
    return total / len(student)


@pytest.mark.parametrize("variant", ["paper", "authors"])
@pytest.mark.parametrize("discrepancy", [None, 0.1, 2.0])
@pytest.mark.parametrize(("shape", "kept"), [((1, 2), 1), ((5, 8), 3), ((3, 6), 6)])
def test_against_loops(shape, kept, discrepancy, variant):
    student, teacher = draw(*shape), draw(*shape, seed=1)
    expected = naive(student, teacher, kept, 1.5, discrepancy, variant)
    found = ranking_distillation(student, teacher, kept, 1.5, discrepancy, variant)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_a_student_with_the_teachers_ranks_has_nothing_to_learn():
    teacher = draw_wide(4, 6)
    student = (teacher**3).requires_grad_()  # other scores, the same order
    for variant in ("paper", "authors"):
        loss = ranking_distillation(student, teacher, 3, variant=variant)
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss == 0 and not gradient.any()
    assert ranking_distillation(student, teacher, 3, discrepancy_scale=None) > 0


def test_a_large_scale_weighs_all_positions_alike():
    student, teacher = draw(4, 6), draw(4, 6, seed=1)
    first = teacher.topk(3, 1).indices
    expected = -torch.nn.functional.logsigmoid(student.gather(1, first)).mean()
    found = ranking_distillation(student, teacher, 3, 1e9, None)
    torch.testing.assert_close(found, expected)
    top = -torch.nn.functional.logsigmoid(student.gather(1, first[:, :1])).mean()
    torch.testing.assert_close(ranking_distillation(student, teacher, 3, 1e-3, None), top)


def test_no_gradient_passes_the_weights_or_the_teacher():
    student, teacher = draw(4, 6).requires_grad_(), draw(4, 6, seed=1).requires_grad_()
    loss = ranking_distillation(student, teacher, 2)
    found, none = torch.autograd.grad(loss, [student, teacher], allow_unused=True)
    assert none is None
    away = torch.ones(4, 6).scatter(1, teacher.topk(2, 1).indices, 0).bool()
    assert not found[away].any() and (found[~away] <= 0).all()


def test_items_that_are_left_out():
    student, teacher = draw(2, 6), draw(2, 6, seed=1)
    held = teacher.clone()
    held[:, 2:4] = -math.inf
    first = [one.topk(2).indices for one in held]
    assert not any({2, 3} & set(one.tolist()) for one in first)
    expected = naive(student, held, 2, 1.0, 0.1, "paper")
    found = ranking_distillation(student, held, 2)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    held[1, 1:] = -math.inf
    with pytest.raises(ValueError, match="teacher_scores must leave at least 2 items.*; got 1"):
        ranking_distillation(student, held, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"kept": 0}, r"kept must lie in \[1, 3\]"), ({"kept": 4}, r"kept must lie in \[1, 3\]"),
     ({"kept": 2, "position_scale": 0.0}, "position_scale must be a finite number above 0"),
     ({"kept": 2, "discrepancy_scale": -1.0}, "discrepancy_scale must be a finite number above 0"),
     ({"kept": 2, "variant": "ours"}, "variant must be")],
)  # fmt: skip
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        ranking_distillation(torch.zeros(2, 3), draw(2, 3), **options)


def test_wrong_scores_are_named():
    with pytest.raises(ValueError, match="student_scores must be scores of at least 2 items"):
        ranking_distillation(torch.zeros(2, 1), torch.zeros(2, 1), 1)
    with pytest.raises(ValueError, match=r"student_scores \(2, 3\) and teacher_scores \(2, 4\)"):
        ranking_distillation(torch.zeros(2, 3), torch.zeros(2, 4), 1)
