"""Pseudo-labels of noisy labels: loops, the two ends, linearity, and the best share."""

import math

import pytest
import torch
from draws import draw, labels_of
from loops import softmax
from torch.autograd import gradcheck

from kdnb.losses import best_label_share, mixed_labels, noisy_label_distillation
from kdnb.losses.cross_entropy import cross_entropy_with, hard_loss


def test_against_loops():
    z, v, share, t = draw(5, 4), draw(5, 4, seed=1), 0.3, 2.0
    y, total = labels_of(z), 0.0
    for row, teacher, label in zip(z.tolist(), v.tolist(), y.tolist(), strict=True):
        q, s = softmax(row), softmax(teacher, t)
        for k in range(4):
            goal = share * (k == label) + (1 - share) * s[k]
            total -= goal * math.log(q[k])
    assert noisy_label_distillation(z, y, v, share, t).item() == pytest.approx(total / 5)


def test_both_ends_and_what_lies_between():
    z, v = draw(5, 4), draw(5, 4, seed=1)
    y = labels_of(z)
    labels, teacher = (noisy_label_distillation(z, y, v, share) for share in (1.0, 0.0))
    torch.testing.assert_close(labels, hard_loss(z, y))
    torch.testing.assert_close(teacher, cross_entropy_with(z, v.softmax(1)))
    torch.testing.assert_close(
        noisy_label_distillation(z, y, v, 0.25), 0.25 * labels + 0.75 * teacher
    )


def test_targets_are_probabilities_and_the_loss_is_least_there():
    v = draw(5, 4, seed=1)
    y = labels_of(v)
    targets = mixed_labels(y, v, 0.4, 3.0)
    torch.testing.assert_close(targets.sum(1), torch.ones(5, dtype=torch.float64))
    at_best = targets.log().requires_grad_()
    (gradient,) = torch.autograd.grad(noisy_label_distillation(at_best, y, v, 0.4, 3.0), at_best)
    assert gradient.abs().max() < 1e-12


def test_the_best_share_by_simulation():
    """Uncorrelated errors around a truth: the mixture's squared error over a grid of shares."""
    truth = draw(20000, 1)
    labels, teacher = truth + draw(20000, 1, scale=0.9, seed=1), truth + draw(20000, 1, scale=0.4, seed=2)  # fmt: skip

    def risk(answer):
        return (answer - truth).square().mean().item()

    best = best_label_share(risk(labels), risk(teacher))
    grid = torch.linspace(0, 1, 101).tolist()
    found = min(grid, key=lambda share: risk(share * labels + (1 - share) * teacher))
    assert abs(found - best) < 0.02
    mixed = risk(best * labels + (1 - best) * teacher)
    expected = risk(labels) * risk(teacher) / (risk(labels) + risk(teacher))
    assert mixed == pytest.approx(expected, rel=0.05) and mixed < risk(teacher)


def test_gradients():
    z, v = draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_()
    assert gradcheck(lambda a, b: noisy_label_distillation(a, labels_of(z), b, 0.3, 2.0), (z, v))


def test_extreme_logits():
    z = torch.tensor([[1e4, -1e4]])
    assert noisy_label_distillation(z, torch.tensor([0]), z, 0.5) == 0
    assert noisy_label_distillation(z, torch.tensor([1]), z, 0.5) == 1e4


def test_wrong_arguments():
    z, y = draw(4, 3), torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match="logits must have the same shape"):
        noisy_label_distillation(z, y, draw(4, 2), 0.5)
    with pytest.raises(ValueError, match=r"label_share must lie in \[0, 1\]"):
        mixed_labels(y, z, -0.1)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        mixed_labels(y, z, 0.5, 0.0)
    with pytest.raises(ValueError, match="must not both be 0"):
        best_label_share(0.0, 0.0)
