"""DKD: its two halves by loops, and the identity that they add up to."""

import pytest
import torch
from draws import draw_wide, labels_of
from loops import kl, rows, softmax, without

from kdnb.losses import (
    decoupled_kd,
    decoupled_terms,
    soft_targets,
)

SHAPES = [(1, 2), (7, 10), (3, 25)]


def test_dkd_of_a_certain_teacher_keeps_its_dark_knowledge():
    """At +-1e3 the published mask of -1000 lets the target back in; here it stays out."""
    teacher = torch.tensor([[2e3, 3.0, 1.0]])
    _, rest = decoupled_terms(torch.zeros(1, 3), teacher, torch.tensor([0]), 1.0)
    p = torch.tensor([3.0, 1.0]).softmax(0)
    assert rest.item() == pytest.approx((p * (2 * p).log()).sum().item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_kd_is_tckd_plus_the_rest_times_nckd(shape, temperature):
    """Zhao 2022's identity, sample by sample: KD = TCKD + (1 - p_t) NCKD."""
    student, teacher = draw_wide(*shape), draw_wide(*shape, seed=1)
    labels = labels_of(student)
    target, rest = decoupled_terms(student, teacher, labels, temperature)
    others = 1 - (teacher / temperature).softmax(1).gather(1, labels[:, None])[:, 0]
    for b in range(shape[0]):
        kd = soft_targets(student[b : b + 1], teacher[b : b + 1], temperature)
        ours = temperature**2 * (target[b] + others[b] * rest[b])
        assert ours.item() == pytest.approx(kd.item(), rel=1e-10, abs=1e-13)


def test_the_identity_holds_in_float32_where_the_teacher_is_sure():
    teacher = torch.tensor([[40.0, 0.0, 1.0]])
    student = torch.tensor([[30.0, 1.0, 0.0]])
    target, rest = decoupled_terms(student, teacher, torch.tensor([0]), 1.0)
    exact = decoupled_terms(student.double(), teacher.double(), torch.tensor([0]), 1.0)
    assert rest.item() == pytest.approx(exact[1].item(), rel=1e-5)
    assert target.item() == pytest.approx(exact[0].item(), abs=1e-7)


def test_two_classes_leave_nothing_beside_the_target():
    student, teacher = draw_wide(4, 2), draw_wide(4, 2, seed=1)
    ours = decoupled_kd(student, teacher, labels_of(student), 4.0)
    assert ours.item() == pytest.approx(soft_targets(student, teacher, 4.0).item(), rel=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(1, 2), (7, 10), (3, 25)])
def test_dkd_against_loops(shape, temperature):
    student, teacher = draw_wide(*shape), draw_wide(*shape, seed=1)
    labels = labels_of(student)
    dkd = 0.0
    for (z, v), y in zip(rows(student, teacher), labels.tolist(), strict=True):
        q, p = softmax(z, temperature), softmax(v, temperature)
        target = kl([p[y], sum(p) - p[y]], [q[y], sum(q) - q[y]])
        dkd += 2.0 * target + 5.0 * kl(without(p, y), without(q, y))
    ours = decoupled_kd(student, teacher, labels, temperature, 2.0, 5.0)
    assert ours.item() == pytest.approx(temperature**2 * dkd / shape[0], rel=1e-7)
