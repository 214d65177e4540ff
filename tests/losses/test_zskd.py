"""ZSKD's softened cross-entropy, by hand."""

import math

import pytest
from draws import draw
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.losses import matching_cross_entropy


def test_the_impressions_loss_is_a_softened_cross_entropy():
    logits, targets = draw(4, 3, scale=5.0), F.softmax(draw(4, 3, seed=1), 1)
    expected = 0.0
    for row, goal in zip((logits / 20).tolist(), targets.tolist(), strict=True):
        total = sum(math.exp(z) for z in row)
        expected -= sum(y * math.log(math.exp(z) / total) for z, y in zip(row, goal, strict=True))
    assert matching_cross_entropy(logits, targets).item() == pytest.approx(expected / 4, rel=1e-9)
    assert gradcheck(lambda z: matching_cross_entropy(z, targets, 2.0), (logits.requires_grad_(),))
