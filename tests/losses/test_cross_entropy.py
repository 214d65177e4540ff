"""Label smoothing against loops, and what labels may be."""

import math

import pytest
import torch
from draws import draw_wide
from loops import softmax
from torch.nn import functional as F

from kdnb.losses import label_smoothing, soft_targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_against_loops(smoothing):
    logits, labels = draw_wide(6, 5), torch.tensor([0, 4, 2, 2, 1, 3])
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        q = softmax(row, 1.0)
        for k in range(5):
            target = smoothing / 5 + (1 - smoothing) * (k == label)
            total -= target * math.log(q[k])
    assert label_smoothing(logits, labels, smoothing).item() == pytest.approx(total / 6, rel=1e-12)


def test_smoothing_is_a_virtual_teacher():
    """Label smoothing has the gradient of distillation at T = 1 from the smoothed labels."""
    logits, labels = draw_wide(6, 5).requires_grad_(), torch.tensor([0, 4, 2, 2, 1, 3])
    virtual = torch.log(0.9 * F.one_hot(labels, 5) + 0.1 / 5)
    (smooth,) = torch.autograd.grad(label_smoothing(logits, labels, 0.1), logits)
    (distil,) = torch.autograd.grad(soft_targets(logits, virtual, 1.0), logits)
    torch.testing.assert_close(smooth, distil)


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
