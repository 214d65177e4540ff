"""Response-based losses: naive derivations, identities, gradients, extreme inputs, errors."""

import math
from functools import partial

import draws
import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.losses import label_smoothing, logit_regression, soft_targets
from kdnb.reproductions import hinton2015

draw = partial(draws.draw, scale=3.0)


def naive_softmax(row, temperature):
    top = max(row)
    powers = [math.exp((value - top) / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def naive_soft_targets(student, teacher, temperature):
    total = 0.0
    for z, v in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = naive_softmax(z, temperature), naive_softmax(v, temperature)
        total += sum(pk * math.log(pk / qk) for pk, qk in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("shape", [(1, 2), (7, 10), (3, 100)])
def test_soft_targets_against_loops(shape, temperature):
    student, teacher = draw(*shape), draw(*shape, seed=1)
    expected = naive_soft_targets(student, teacher, temperature)
    assert soft_targets(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-10)


def test_logit_regression_against_loops():
    student, teacher = draw(5, 7), draw(5, 7, seed=1)
    expected = sum(
        (z - v) ** 2
        for row, other in zip(student.tolist(), teacher.tolist(), strict=True)
        for z, v in zip(row, other, strict=True)
    ) / (2 * 5)
    assert logit_regression(student, teacher).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_against_loops(smoothing):
    logits, labels = draw(6, 5), torch.tensor([0, 4, 2, 2, 1, 3])
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        q = naive_softmax(row, 1.0)
        for k in range(5):
            target = smoothing / 5 + (1 - smoothing) * (k == label)
            total -= target * math.log(q[k])
    assert label_smoothing(logits, labels, smoothing).item() == pytest.approx(total / 6, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradients_by_finite_differences(temperature):
    student, teacher = draw(4, 5).requires_grad_(), draw(4, 5, seed=1).requires_grad_()
    labels = torch.tensor([0, 1, 2, 4])
    assert gradcheck(lambda a, b: soft_targets(a, b, temperature), (student, teacher))
    assert gradcheck(logit_regression, (student, teacher))
    assert gradcheck(lambda a: label_smoothing(a, labels, 0.1), (student,))


def test_paper_identities():
    for identity in (
        hinton2015.gradient_identity,
        hinton2015.high_temperature_limit,
        hinton2015.balance,
    ):
        value, tolerance = identity()
        assert abs(value) <= tolerance, identity.__name__


def test_without_the_factor_the_balance_is_lost():
    norms = []
    for temperature in (50.0, 100.0):
        student = draw(8, 10).requires_grad_()
        loss = soft_targets(student, draw(8, 10, seed=1), temperature) / temperature**2
        norms.append(torch.autograd.grad(loss, student)[0].norm())
    assert norms[0] / norms[1] == pytest.approx(4, rel=0.05)


def test_matching_student_has_no_loss_and_no_gradient():
    teacher = draw(3, 10)
    student = teacher.clone().requires_grad_()
    for loss in (soft_targets(student, teacher, 4.0), logit_regression(student, teacher)):
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert gradient.abs().max() < 1e-12


def test_soft_targets_do_not_see_a_shift_of_the_logits():
    student, teacher = draw(4, 6), draw(4, 6, seed=1)
    moved = soft_targets(student + 5, teacher - draw(4, 1, seed=2), 4.0)
    assert moved.item() == pytest.approx(soft_targets(student, teacher, 4.0).item(), rel=1e-10)


def test_smoothing_is_a_virtual_teacher():
    """Label smoothing has the gradient of distillation at T = 1 from the smoothed labels."""
    logits, labels = draw(6, 5).requires_grad_(), torch.tensor([0, 4, 2, 2, 1, 3])
    virtual = torch.log(0.9 * F.one_hot(labels, 5) + 0.1 / 5)
    (smooth,) = torch.autograd.grad(label_smoothing(logits, labels, 0.1), logits)
    (distil,) = torch.autograd.grad(soft_targets(logits, virtual, 1.0), logits)
    torch.testing.assert_close(smooth, distil)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_extreme_logits_and_half_precision(dtype, temperature):
    student = torch.tensor([[1e3, -1e3, 0.0], [-1e3, 1e3, 0.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e3, 1e3, 0.0], [-1e3, 1e3, 0.0]], dtype=dtype)
    labels = torch.tensor([1, 1])
    for loss in (
        soft_targets(student, teacher, temperature),
        logit_regression(student, teacher),
        label_smoothing(student, labels, 0.1),
    ):
        (gradient,) = torch.autograd.grad(loss, student, retain_graph=True)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        assert loss > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype):
    student, teacher = draw(4, 10).float(), draw(4, 10, seed=1).float()
    plain = [soft_targets(student, teacher, 4.0), logit_regression(student, teacher)]
    with torch.autocast("cpu", dtype):
        cast = [soft_targets(student, teacher, 4.0), logit_regression(student, teacher)]
    torch.testing.assert_close(cast, plain)


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        ((4, 10), (4, 9), r"student_logits \(4, 10\) and teacher_logits \(4, 9\)"),
        ((4, 10, 2), (4, 10, 2), r"student_logits .* got \(4, 10, 2\)"),
        ((0, 10), (0, 10), r"student_logits .* got \(0, 10\)"),
        ((10,), (10,), r"student_logits .* got \(10,\)"),
    ],
)
def test_wrong_shapes_are_named(student, teacher, words):
    for loss in (lambda a, b: soft_targets(a, b, 4.0), logit_regression):
        with pytest.raises(ValueError, match=words):
            loss(torch.zeros(student), torch.zeros(teacher))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_wrong_temperature(temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        soft_targets(torch.zeros(1, 2), torch.zeros(1, 2), temperature)


def test_wrong_labels_and_smoothing():
    logits = torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"got torch.int64 of shape \(2,\)"):
        label_smoothing(logits, torch.tensor([0, 1]), 0.1)
    with pytest.raises(ValueError, match="got torch.float32"):
        label_smoothing(logits, torch.zeros(3), 0.1)
    for wrong in (-100, 4):
        with pytest.raises(
            ValueError, match=f"labels must lie in 0 to 3 for 4 classes; got.*{wrong}"
        ):
            label_smoothing(logits, torch.tensor([0, wrong, 0]), 0.1)
    whole = torch.tensor([0, 1, 2])
    assert label_smoothing(logits, whole.int(), 0.1) == label_smoothing(logits, whole, 0.1)
    with pytest.raises(
        ValueError, match="logits must hold floating-point numbers; got torch.int64"
    ):
        label_smoothing(logits.long(), whole, 0.1)
    with pytest.raises(ValueError, match=r"smoothing must lie in \[0, 1\]; got 1.5"):
        label_smoothing(logits, torch.tensor([0, 1, 2]), 1.5)
