"""CMI's terms: the contrast and the adversarial one."""

import math

import pytest
import torch
from draws import draw
from torch import nn
from torch.autograd import gradcheck

from kdnb.losses import (
    contrastive_diversity,
    decision_adversarial,
)


def softmax(row):
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def rows(logits):
    return [softmax(row) for row in logits.tolist()]


def test_decision_adversarial_counts_only_where_both_decide_alike():
    student = torch.tensor([[2.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    q, p = rows(student)[0], rows(teacher)[0]
    divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert decision_adversarial(student, teacher).item() == pytest.approx(-divergence / 2)


def test_contrast_against_loops():
    local, whole = (nn.functional.normalize(draw(3, 5, seed=s)) for s in (0, 1))
    old = [nn.functional.normalize(draw(2, 5, seed=s)) for s in (2, 3)]
    keys = torch.cat([whole, old[1]])
    losses = []
    for number, query in enumerate(torch.cat([local, old[0]])):
        scores = [math.exp(float(query @ key) / 0.1) for key in keys]
        losses.append(-math.log(scores[number] / sum(scores)))
    expected = sum(losses[:3]) / 3 + sum(losses[3:]) / 2
    assert contrastive_diversity(local, whole, *old).item() == pytest.approx(expected, rel=1e-9)
    alone = contrastive_diversity(local, whole).item()
    empty = contrastive_diversity(local, whole, torch.zeros(0, 5), torch.zeros(0, 5)).item()
    assert alone == empty < expected


def test_equal_images_are_what_the_contrast_forbids():
    same = nn.functional.normalize(torch.ones(4, 3))
    assert contrastive_diversity(same, same).item() == pytest.approx(math.log(4))
    assert contrastive_diversity(torch.eye(4), torch.eye(4)).item() < 1e-3


def test_gradients_by_finite_differences():
    logits, other = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    assert gradcheck(decision_adversarial, (logits, other))
    assert gradcheck(lambda a: contrastive_diversity(a, draw(4, 3, seed=2)), (logits,))


def test_views_of_other_shapes_are_named():
    with pytest.raises(ValueError, match=r"features must have the same number of samples"):
        contrastive_diversity(torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"views must be \(batch, features\)"):
        contrastive_diversity(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="belong together; got one of them"):
        contrastive_diversity(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1, 3))
