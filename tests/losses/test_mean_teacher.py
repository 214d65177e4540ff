"""The consistency cost and the labelled cross-entropy, by hand."""

import draws
import pytest
import torch
from torch.nn import functional as F

from kdnb import losses


def test_the_cost_and_the_labels_by_hand():
    logits, target = draws.draw(4, 3), draws.draw(4, 3, seed=1).softmax(1)
    expected = float((logits.softmax(1) - target).square().sum() / 12)
    assert float(losses.consistency_cost(logits, target)) == pytest.approx(expected)
    labels = torch.tensor([1, -1, 0, -1])
    known = F.cross_entropy(logits[[0, 2]], labels[[0, 2]], reduction="sum") / 4
    torch.testing.assert_close(losses.labelled_cross_entropy(logits, labels), known)
    assert float(losses.labelled_cross_entropy(logits, torch.full((4,), -1))) == 0
