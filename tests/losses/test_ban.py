"""CWTM, DKPP and the gradient's two parts."""

import math
from functools import partial

import draws
import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb import losses
from kdnb.losses import soft_targets

draw = partial(draws.draw, scale=3.0)


def test_cwtm_by_hand():
    """Two samples of confidence 0.9 and 0.6: weights 0.6 and 0.4 on two known cross-entropies."""
    teacher = torch.tensor([[0.9, 0.1], [0.4, 0.6]], dtype=torch.float64).log()
    student = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64).log()
    loss = losses.confidence_weighted(student, teacher, torch.tensor([0, 0]))
    assert loss.item() == pytest.approx(0.6 * math.log(4) + 0.4 * math.log(2), rel=1e-12)


def test_cwtm_weighs_a_teacher_that_is_wrong_like_one_that_is_right():
    student, labels = draw(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    teacher = draw(6, 4, seed=1)
    shuffled = teacher.flip(1)  # the same confidences on other classes
    one = losses.confidence_weighted(student, teacher, labels)
    assert one.item() == pytest.approx(losses.confidence_weighted(student, shuffled, labels).item())
    equal = torch.zeros(6, 4, dtype=torch.float64)
    plain = F.cross_entropy(student, labels)
    assert losses.confidence_weighted(student, equal, labels).item() == pytest.approx(plain.item())
    assert one.item() != pytest.approx(plain.item(), rel=1e-3)


def test_cwtm_gradients_flow_to_the_student_alone():
    labels = torch.tensor([0, 1, 2, 3])
    student, teacher = draw(4, 5).requires_grad_(), draw(4, 5, seed=1).requires_grad_()
    assert gradcheck(lambda z: losses.confidence_weighted(z, teacher.detach(), labels), (student,))
    losses.confidence_weighted(student, teacher, labels).backward()
    assert teacher.grad is None


def test_dkpp_keeps_the_winner_and_permutes_the_rest():
    logits = draw(400, 6)
    mixed = losses.permuted_predictions(logits, torch.Generator().manual_seed(0))
    at = torch.arange(400), logits.argmax(1)
    assert torch.equal(mixed[at], logits[at])
    assert torch.equal(mixed.sort(1).values, logits.sort(1).values)
    others = torch.ones_like(logits, dtype=torch.bool)
    others[at] = False
    stayed = (mixed == logits)[others].float().mean()
    assert abs(float(stayed) - 1 / 5) < 0.04  # a random permutation of 5 leaves one in five


def test_dkpp_permutations_are_uniform_and_one_for_each_row():
    row = torch.tensor([[0.0, 9.0, 1.0, 2.0]]).expand(6000, 4)
    mixed = losses.permuted_predictions(row, torch.Generator().manual_seed(0))
    kinds, counts = mixed[:, [0, 2, 3]].unique(dim=0, return_counts=True)
    assert len(kinds) == math.factorial(3)
    assert counts.min() > 900
    assert counts.max() < 1100


def test_dkpp_of_ties_keeps_one_winner():
    logits = torch.tensor([[2.0, 2.0, 0.0]])
    for seed in range(20):
        mixed = losses.permuted_predictions(logits, torch.Generator().manual_seed(seed))
        assert mixed[0, 0] == 2
        assert sorted(mixed[0].tolist()) == [0.0, 2.0, 2.0]


def test_the_gradient_is_the_sum_of_its_two_parts():
    student, teacher = draw(7, 5).requires_grad_(), draw(7, 5, seed=1)
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    (gradient,) = torch.autograd.grad(soft_targets(student, teacher, 1.0), student)
    label, dark = losses.gradient_decomposition(student, teacher, labels)
    for b in range(7):
        q, p = student[b].softmax(0), teacher[b].softmax(0)
        for k in range(5):
            here, there = (label, dark) if k == labels[b] else (dark, label)
            expected = (q[k] - p[k]) / 7
            assert here[b, k].item() == pytest.approx(expected.item(), abs=1e-14)
            assert there[b, k] == 0
            assert gradient[b, k].item() == pytest.approx(expected.item(), abs=1e-14)


def test_the_exact_claim_holds_and_could_fail(monkeypatch):
    worst, tolerance = losses.gradient_identity()
    assert worst < tolerance

    def broken(student, teacher, temperature):
        return 1.001 * soft_targets(student, teacher, temperature)

    from kdnb.losses import ban

    monkeypatch.setattr(ban, "soft_targets", broken)
    worst, tolerance = losses.gradient_identity()
    assert worst > tolerance


@pytest.mark.parametrize("loss", [losses.confidence_weighted, losses.gradient_decomposition])
def test_wrong_shapes_and_labels(loss):
    z = torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"student_logits \(3, 4\) and teacher_logits \(3, 5\)"):
        loss(z, torch.zeros(3, 5), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"got torch.int64 of shape \(2,\)"):
        loss(z, z, torch.tensor([0, 1]))


def test_half_precision_and_autocast():
    student, teacher = draw(4, 5).bfloat16(), draw(4, 5, seed=1).bfloat16()
    labels = torch.tensor([0, 1, 2, 3])
    with torch.autocast("cpu", torch.bfloat16):
        loss = losses.confidence_weighted(student, teacher, labels)
    assert loss.dtype == torch.float32
    assert losses.permuted_predictions(teacher).dtype == torch.float32
