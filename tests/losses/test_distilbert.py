"""DistilBERT's cosine loss: against loops and torch's own."""

import math

import pytest
import torch
from draws import draw
from loops import normal
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.losses import state_directions

S, T = draw(3, 4, 5), draw(3, 4, 5, seed=1)
SOME = torch.tensor([[True, True, False, False], [True] * 4, [True, False, False, False]])


@pytest.mark.parametrize("present", [None, SOME])
def test_against_loops(present):
    there = torch.ones(3, 4, dtype=torch.bool) if present is None else present
    values = [
        1 - sum(x * y for x, y in zip(normal(S[b, t].tolist()), normal(T[b, t].tolist()), strict=True))
        for b in range(3) for t in range(4) if there[b, t]
    ]  # fmt: skip
    assert state_directions(S, T, present).item() == pytest.approx(
        sum(values) / len(values), rel=1e-12
    )


def test_it_is_torchs_embedding_loss_with_the_target_1():
    flat = S.flatten(0, 1), T.flatten(0, 1)
    torch.testing.assert_close(
        state_directions(S, T), F.cosine_embedding_loss(*flat, torch.ones(12))
    )


def test_gradients_extremes_and_padding():
    assert gradcheck(lambda s: state_directions(s, T, SOME), (S.clone().requires_grad_(),))
    zero = torch.zeros(1, 2, 3, requires_grad=True)
    value = state_directions(zero, torch.ones(1, 2, 3))
    value.backward()
    assert value.item() == pytest.approx(1) and zero.grad.isfinite().all()
    spoilt = S.clone()
    spoilt[0, 3, 0] = math.nan
    assert state_directions(spoilt, T, SOME).isnan()


def test_wrong_states():
    with pytest.raises(
        ValueError, match=r"tokens, width\) of one shape; got \(3, 4, 5\) and \(3, 3, 5\)"
    ):
        state_directions(S, T[:, :3])
    with pytest.raises(ValueError, match="present must hold"):
        state_directions(S, T, SOME[:, :2])
