"""The likeliest words of a teacher, against loops."""

import math

import pytest
import torch
from draws import draw_wide
from loops import softmax

from kdnb import losses


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_the_largest_against_loops(kept):
    s, t = draw_wide(4, 5), draw_wide(4, 5, seed=1)
    total = 0.0
    for ours, theirs in zip(s.tolist(), t.tolist(), strict=True):
        p, q = softmax(ours), softmax(theirs)
        top = sorted(range(5), key=q.__getitem__, reverse=True)[:kept]
        share = sum(q[k] for k in top)
        total -= sum(q[k] / share * math.log(p[k]) for k in top)
    assert losses.top_cross_entropy(s, t, kept).item() == pytest.approx(total / 4, rel=1e-12)


def test_one_word_is_a_label_and_all_words_are_the_teacher():
    s, t = draw_wide(4, 5), draw_wide(4, 5, seed=1)
    torch.testing.assert_close(losses.top_cross_entropy(s, t, 1), losses.hard_loss(s, t.argmax(1)))
    whole = losses.cross_entropy_with(s, t.softmax(1))
    torch.testing.assert_close(losses.top_cross_entropy(s, t, 5), whole)


def test_words_beyond_are_not_seen():
    s, t = draw_wide(4, 5), draw_wide(4, 5, seed=1)
    lowest = t.argmin(1, keepdim=True)
    moved = t.scatter(1, lowest, t.gather(1, lowest) - 3)
    torch.testing.assert_close(
        losses.top_cross_entropy(s, moved, 3), losses.top_cross_entropy(s, t, 3)
    )
    with pytest.raises(ValueError, match=r"kept must lie in \[1, 5\], a whole number"):
        losses.top_cross_entropy(s, t, 6)
