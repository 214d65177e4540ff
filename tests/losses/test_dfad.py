"""DFAD's discrepancy, against loops."""

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import (
    discrepancy,
)


def test_discrepancy_against_loops():
    student, teacher = draw(3, 4), draw(3, 4, seed=1)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    expected = sum(abs(a - b) for a, b in pairs) / 12
    assert discrepancy(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_gradients_precision_and_errors():
    student, teacher = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    assert gradcheck(discrepancy, (student, teacher))
    half = torch.randn(4, 3, dtype=torch.bfloat16)
    assert discrepancy(half, half).dtype == torch.float32
    with pytest.raises(ValueError, match="same shape"):
        discrepancy(torch.zeros(2, 3), torch.zeros(2, 4))
