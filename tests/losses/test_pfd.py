"""PFD: loops, what the teacher's share does, where the loss is least, and what is refused."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.losses import privileged_features

LABELS = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_against_loops():
    z, v, share, total = draw(5), draw(5, seed=1), 0.3, 0.0
    for s, t, y in zip(z.tolist(), v.tolist(), LABELS.tolist(), strict=True):
        for goal, weight in ((y, 1 - share), (sigmoid(t), share)):
            p = sigmoid(s)
            total -= weight * (goal * math.log(p) + (1 - goal) * math.log(1 - p))
    assert privileged_features(z, v, LABELS, share).item() == pytest.approx(total / 5)


def test_without_a_share_the_teacher_says_nothing():
    z, v = draw(5), draw(5, seed=1)
    plain = F.binary_cross_entropy_with_logits(z, LABELS)
    torch.testing.assert_close(privileged_features(z, v, LABELS, 0.0), plain)


def test_with_the_whole_share_the_teachers_scores_are_best():
    v = draw(5, seed=1)
    z = v.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(privileged_features(z, v, LABELS, 1.0), z)
    assert gradient.abs().max() < 1e-12


def test_gradients_reach_the_student_alone():
    z, v = draw(5).requires_grad_(), draw(5, seed=1).requires_grad_()
    assert gradcheck(lambda one: privileged_features(one, v.detach(), LABELS, 0.4), (z,))
    loss = privileged_features(z, v, LABELS, 0.4)
    assert torch.autograd.grad(loss, v, allow_unused=True) == (None,)


def test_extreme_scores():
    z = torch.tensor([1e4, -1e4])
    y = torch.tensor([1.0, 0.0])
    assert privileged_features(z, z, y, 0.5) == 0
    assert privileged_features(-z, z, y, 0.5) == 1e4


def test_wrong_arguments():
    z, y = torch.zeros(3), torch.zeros(3)
    with pytest.raises(ValueError, match="must have one length; got 3, 2 and 3"):
        privileged_features(z, z[:2], y)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\]"):
        privileged_features(z, z, y + 2)
    with pytest.raises(ValueError, match=r"teacher_share must lie in \[0, 1\]"):
        privileged_features(z, z, y, 1.1)
    with pytest.raises(ValueError, match="scores of shape"):
        privileged_features(z[:, None], z, y)
