"""Spatial attention and its imitation, against loops."""

import draws
import pytest
import torch
from torch.autograd import gradcheck

from kdnb import losses


def test_spatial_attention_against_a_loop():
    maps = draws.draw(2, 3, 4, 5, scale=0.5)
    found = losses.spatial_attention(maps)
    for b in range(2):
        energy = [
            float(sum(maps[b, c, i, j] ** 2 for c in range(3))) for i in range(4) for j in range(5)
        ]
        expected = torch.tensor(energy, dtype=torch.float64).softmax(0).view(4, 5)
        torch.testing.assert_close(found[b], expected)
    larger = losses.spatial_attention(maps, (8, 10))
    assert larger.shape == (2, 8, 10)
    torch.testing.assert_close(larger.sum((1, 2)), torch.ones(2, dtype=torch.float64))


def test_self_attention_imitates_downwards():
    shallow, middle, deep = (
        draws.draw(2, 3, side, side, seed=side, scale=0.5).requires_grad_() for side in (4, 2, 1)
    )
    loss = losses.self_attention([shallow, middle, deep])
    size = (4, 4)
    first = losses.spatial_attention(shallow) - losses.spatial_attention(middle, size)
    second = losses.spatial_attention(middle) - 0.25  # the deepest map of one position is uniform
    expected = first.square().sum((1, 2)).mean() + second.square().sum((1, 2)).mean()
    assert loss.item() == pytest.approx(expected.item())
    gradients = torch.autograd.grad(loss, (shallow, middle, deep), allow_unused=True)
    assert gradients[0].abs().max() > 0
    assert gradients[1].abs().max() > 0
    assert gradients[2] is None
    (target,) = torch.autograd.grad(
        losses.self_attention([shallow, middle]), (middle,), allow_unused=True
    )
    assert target is None
    target = middle.detach()
    assert gradcheck(lambda x: losses.self_attention([x, target]), (shallow,))
    with pytest.raises(ValueError, match="maps must be a list of at least 2; got 1"):
        losses.self_attention([shallow])
    with pytest.raises(ValueError, match="batch size"):
        losses.self_attention([shallow, torch.zeros(3, 3, 2, 2)])
