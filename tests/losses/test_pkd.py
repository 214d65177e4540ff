"""PKD: against loops, and the cosine that it is."""

import math

import pytest
import torch
from draws import draw
from loops import normal
from torch.autograd import gradcheck

from kdnb.losses import patient

S, T = draw(3, 2, 5), draw(3, 2, 5, seed=1)


def test_against_loops():
    total = 0.0
    for b in range(3):
        for j in range(2):
            ours, theirs = normal(S[b, j].tolist()), normal(T[b, j].tolist())
            total += sum((x - y) ** 2 for x, y in zip(ours, theirs, strict=True))
    assert patient(S, T).item() == pytest.approx(total / 3, rel=1e-12)
    assert patient(S, T, "authors").item() == pytest.approx(total / 30, rel=1e-12)


def test_it_is_the_cosines_distance_and_forgets_length():
    cosines = torch.nn.functional.cosine_similarity(S, T, dim=2)
    torch.testing.assert_close(patient(S, T), (2 - 2 * cosines).sum(1).mean())
    torch.testing.assert_close(patient(7 * S, T / 3), patient(S, T))
    assert patient(3 * T, T).item() == pytest.approx(0, abs=1e-12)
    assert patient(-T, T).item() == pytest.approx(8)


def test_gradients_and_extremes():
    assert gradcheck(lambda s: patient(s, T), (S.clone().requires_grad_(),))
    zero = torch.zeros(2, 1, 3, requires_grad=True)
    value = patient(zero, torch.ones(2, 1, 3))
    value.backward()
    assert value.item() == pytest.approx(1) and zero.grad.isfinite().all()
    for scale in (1e-15, 1e15):
        assert patient((scale * S).float(), T.float()).item() == pytest.approx(
            patient(S, T).item(), rel=1e-4
        )
    assert patient(torch.full((1, 1, 2), math.nan), torch.ones(1, 1, 2)).isnan()


def test_wrong_states():
    with pytest.raises(
        ValueError, match=r"layers, width\) of one shape; got \(3, 2, 5\) and \(3, 2, 4\)"
    ):
        patient(S, T[..., :4])
    with pytest.raises(ValueError, match="must be"):
        patient(S[0, 0], T[0, 0])
    with pytest.raises(ValueError, match="variant"):
        patient(S, T, "ours")
