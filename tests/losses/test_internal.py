"""Internal representations: the sum of two known losses, each against loops."""

import math

import pytest
import torch
from draws import draw
from loops import kl, normal, softmax
from torch.autograd import gradcheck

from kdnb.losses import internal_representation, sentence_direction

A, B = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
S, T = draw(2, 4, 5), draw(2, 4, 5, seed=1)
SOME = torch.tensor([[True, True, True, False], [True, True, False, False]])


def cosine(b):
    return sum(
        x * y for x, y in zip(normal(S[b, 0].tolist()), normal(T[b, 0].tolist()), strict=True)
    )


def naive(weight):
    total = 0.0
    for b in range(2):
        count = int(SOME[b].sum())
        for a in range(3):
            for i in range(count):
                ours, theirs = (softmax(x[b, a, i, :count].tolist()) for x in (A, B))
                total += kl(theirs, ours) / (2 * 3 * count)
        total += weight * (1 - cosine(b)) / 2
    return total


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.4])
def test_against_loops(weight):
    value = internal_representation(A, B, S, T, SOME, weight)
    assert value.item() == pytest.approx(naive(weight), rel=1e-10)


def test_gradients():
    inputs = A.clone().requires_grad_(), S.clone().requires_grad_()
    assert gradcheck(lambda a, s: internal_representation(a, B, s, T, SOME), inputs)
    assert gradcheck(lambda s: sentence_direction(s, T[:, 0]), (S[:, 0].clone().requires_grad_(),))


def test_only_the_first_tokens_state_counts_and_not_its_length():
    value = internal_representation(A, B, S, T)
    other = S.clone()
    other[:, 1:] += 3
    torch.testing.assert_close(internal_representation(A, B, other, T), value)
    torch.testing.assert_close(internal_representation(A, B, 4 * S, T), value)
    assert internal_representation(B, B, T, T).item() == pytest.approx(0, abs=1e-12)
    assert sentence_direction(-T[:, 0], T[:, 0]).item() == pytest.approx(2)


def test_extremes():
    zero = torch.zeros(2, 3, requires_grad=True)
    value = sentence_direction(zero, torch.ones(2, 3))
    value.backward()
    assert value.item() == 1 and zero.grad.isfinite().all()
    assert internal_representation(1e4 * A, 1e4 * B, S, T).isfinite()
    assert sentence_direction(torch.full((1, 2), math.nan), torch.ones(1, 2)).isnan()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="cosine_weight must be at least 0"):
        internal_representation(A, B, S, T, cosine_weight=-1)
    with pytest.raises(ValueError, match=r"tokens, width\) of one shape"):
        internal_representation(A, B, S, T[..., :4])
    with pytest.raises(ValueError, match=r"\(batch, width\) of one shape"):
        sentence_direction(S, T)
    with pytest.raises(ValueError, match="heads"):
        internal_representation(A, B[:, :2], S, T)
