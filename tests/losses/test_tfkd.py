"""The virtual teacher, and the label smoothing that it equals."""

import draws
import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb import losses
from kdnb.losses import label_smoothing


def test_the_virtual_teacher_by_hand():
    teacher = losses.virtual_teacher(torch.tensor([2, 0]), 5, 0.9)
    assert teacher[0].tolist() == pytest.approx([0.025, 0.025, 0.9, 0.025, 0.025])
    assert teacher[1].argmax() == 0
    for wrong in (0.2, 1.0, 0.1):
        with pytest.raises(ValueError, match="correct must lie between 1 / 5 and 1"):
            losses.virtual_teacher(torch.tensor([0]), 5, wrong)
    with pytest.raises(ValueError, match="at least 2"):
        losses.virtual_teacher(torch.tensor([0]), 1)


def test_the_paper_and_the_released_code_against_naive_loops():
    logits, labels = draws.draw(4, 6, scale=2), torch.tensor([0, 5, 2, 2])
    tau, a = 20.0, 0.95
    naive = {"paper": 0.0, "authors": 0.0}
    for b in range(4):
        p = torch.full((6,), (1 - a) / 5, dtype=torch.float64)
        p[labels[b]] = a
        soft = p ** (1 / tau) / (p ** (1 / tau)).sum()
        q = (logits[b] / tau).softmax(0)
        naive["paper"] += tau**2 * float((soft * (soft / q).log()).sum()) / 4
        soft, q = (p / tau).softmax(0), logits[b].softmax(0)
        naive["authors"] += float((soft * (soft / q).log()).sum()) / 4
    for variant, expected in naive.items():
        found = losses.teacher_free_regularisation(logits, labels, tau, a, variant)
        assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_released_code_is_nearly_uniform():
    """The trap: 0.1045 for the true class of ten, where a softened 0.99 is 0.135."""
    assert losses.softened_correct(10, 20.0, variant="authors") == pytest.approx(0.10453, abs=1e-5)
    assert losses.softened_correct(10, 20.0) == pytest.approx(
        0.99**0.05 / (0.99**0.05 + 9 * (0.01 / 9) ** 0.05)
    )
    assert losses.softened_correct(10, 20.0, correct=0.999) == pytest.approx(0.15, abs=0.002)


def test_tf_kd_is_label_smoothing_exactly():
    worst, tolerance = losses.virtual_teacher_identity()
    assert worst < tolerance
    logits = draws.draw(6, 7, scale=2).requires_grad_()
    labels = torch.arange(6)
    gradients = {}
    for epsilon_factor in (1.0, 1.1):  # and not with another amount of smoothing
        epsilon = epsilon_factor * losses.equivalent_smoothing(0.4, 7, 20.0, 0.9)
        smoothed = label_smoothing(logits, labels, epsilon)
        (gradients[epsilon_factor],) = torch.autograd.grad(smoothed, logits)
    soft = losses.teacher_free_regularisation(logits, labels, 20.0, 0.9, "authors")
    loss = 0.6 * F.cross_entropy(logits, labels) + 0.4 * soft
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient - gradients[1.0]).abs().max() < 1e-12
    assert (gradient - gradients[1.1]).abs().max() > 1e-3


def test_a_softened_student_is_no_label_smoothing():
    with pytest.raises(ValueError, match="temperature 1 alone; got 20"):
        losses.equivalent_smoothing(0.5, 10, 20.0, variant="paper")
    logits, labels = draws.draw(8, 5, scale=2).requires_grad_(), torch.arange(8) % 5
    soft = losses.teacher_free_regularisation(logits, labels, 20.0)
    (gradient,) = torch.autograd.grad(soft, logits)
    # Were it cross-entropy with any fixed targets u, softmax(z) - 8 * gradient would be u: the
    # same for all samples of a class, which it is not.
    targets = logits.detach().softmax(1) - 8 * gradient
    assert (targets[0] - targets[5]).abs().max() > 0.01


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_gradients_extremes_and_errors(variant):
    labels = torch.tensor([0, 1, 2])

    def loss(z):
        return losses.teacher_free_regularisation(z, labels, 20.0, variant=variant)

    assert gradcheck(loss, (draws.draw(3, 4).requires_grad_(),))
    extreme = (1e3 * torch.eye(3, 4)).bfloat16().requires_grad_()
    value = loss(extreme)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(extreme.grad).all()
    with pytest.raises(ValueError, match="temperature must be"):
        losses.teacher_free_regularisation(torch.zeros(3, 4), labels, 0.0, variant=variant)
    with pytest.raises(ValueError, match="got 'author'"):
        losses.teacher_free_regularisation(torch.zeros(3, 4), labels, variant="author")
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        losses.teacher_free_regularisation(torch.zeros(2, 4), labels)
