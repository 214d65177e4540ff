"""The gap of the top scores, against a loop."""

import draws
import pytest
from torch.autograd import gradcheck

from kdnb import losses


def test_top_score_difference_against_a_loop():
    logits = draws.draw(5, 8, scale=2)
    for kept in (2, 4, 8):
        naive = 0.0
        for row in logits:
            top = sorted(row.softmax(0).tolist(), reverse=True)
            naive += (top[0] - sum(top[1:kept]) / (kept - 1)) / 5
        assert losses.top_score_difference(logits, kept).item() == pytest.approx(naive)
    assert gradcheck(lambda z: losses.top_score_difference(z, 3), (logits.requires_grad_(),))
    for kept in (1, 9):
        with pytest.raises(ValueError, match=r"kept must lie in \[2, 8\]"):
            losses.top_score_difference(logits, kept)
