"""Generalised distillation: its two cross-entropies, its ends, its optimum."""

import math

import pytest
import torch
from draws import draw_wide, labels_of
from loops import rows, softmax

from kdnb.losses import (
    generalised_distillation,
    hard_loss,
    label_smoothing,
    soft_targets,
    virtual_teacher,
)


@pytest.mark.parametrize(("variant", "factor"), [("paper", 1.0), ("authors", 9.0)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_against_loops(share, variant, factor):
    student, teacher = draw_wide(6, 5), draw_wide(6, 5, seed=1)
    labels, total = labels_of(student), 0.0
    for (z, v), y in zip(rows(student, teacher), labels.tolist(), strict=True):
        q, s = softmax(z), softmax(v, 3.0)
        soft = -sum(a * math.log(b) for a, b in zip(s, q, strict=True))
        total += -(1 - share) * math.log(q[y]) + share * factor * soft
    found = generalised_distillation(student, teacher, labels, share, 3.0, variant)
    assert found.item() == pytest.approx(total / 6, rel=1e-12)


def test_its_ends_are_labels_alone_and_the_teacher_alone():
    student, teacher = draw_wide(6, 5), draw_wide(6, 5, seed=1)
    labels = labels_of(student)
    alone = generalised_distillation(student, teacher, labels, 0.0, 4.0)
    torch.testing.assert_close(alone, hard_loss(student, labels))
    taught = generalised_distillation(student, teacher, labels, 1.0)
    entropy = torch.special.entr(teacher.softmax(1)).sum(1).mean()
    torch.testing.assert_close(taught, soft_targets(student, teacher, 1.0) + entropy)


def test_a_teacher_who_only_knows_the_labels_is_label_smoothing():
    student = draw_wide(6, 5).requires_grad_()
    labels = labels_of(student)
    made = virtual_teacher(labels, 5, 0.9, torch.float64).log()
    loss = generalised_distillation(student, made, labels, 0.4)
    smoothed = label_smoothing(student, labels, 0.4 * 0.1 * 5 / 4)
    found = torch.autograd.grad(loss, student)[0]
    torch.testing.assert_close(found, torch.autograd.grad(smoothed, student)[0])


def test_its_least_value_is_at_the_mixture_of_the_targets():
    teacher, labels = draw_wide(4, 5), torch.tensor([0, 1, 2, 3])
    mixed = 0.3 * (teacher / 2).softmax(1) + 0.7 * torch.eye(5).double()[labels]
    best = mixed.log().requires_grad_()
    loss = generalised_distillation(best, teacher, labels, 0.3, 2.0)
    torch.testing.assert_close(loss, torch.special.entr(mixed).sum(1).mean())
    assert torch.autograd.grad(loss, best)[0].abs().max() < 1e-12


def test_the_student_is_not_softened():
    student, teacher = draw_wide(4, 5).requires_grad_(), draw_wide(4, 5, seed=1)
    loss = generalised_distillation(student, teacher, labels_of(student), 1.0, 5.0)
    (found,) = torch.autograd.grad(loss, student)
    expected = (student.softmax(1) - (teacher / 5).softmax(1)) / 4
    torch.testing.assert_close(found, expected.detach())


def test_excluded_classes():
    out = -math.inf
    both = [torch.tensor([[0.0, out, x]], requires_grad=True) for x in (1.0, 2.0)]
    value = generalised_distillation(*both, torch.tensor([2]))
    plain = [torch.tensor([[0.0, x]]) for x in (1.0, 2.0)]
    torch.testing.assert_close(value, generalised_distillation(*plain, torch.tensor([1])))
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, both))


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, True, None])
def test_a_share_outside_is_refused(share):
    with pytest.raises(ValueError, match=r"teacher_share must lie in \[0, 1\]; got"):
        generalised_distillation(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), share)


def test_one_column_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="student_logits must have at least 2 classes"):
        generalised_distillation(torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"student_logits \(1, 3\) and teacher_logits \(1, 2\)"):
        generalised_distillation(torch.zeros(1, 3), torch.zeros(1, 2), torch.tensor([0]))
