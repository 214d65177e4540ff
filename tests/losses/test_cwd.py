"""Channel-wise distillation: loops over places, an offset of a channel, and the axis of its softmax."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import channel_wise, pixel_wise


def naive(s, t, temperature):
    found = []
    for b in range(len(s)):
        for c in range(s.shape[1]):
            ours = [math.exp(v / temperature) for v in s[b, c].flatten().tolist()]
            theirs = [math.exp(v / temperature) for v in t[b, c].flatten().tolist()]
            q, p = [v / sum(ours) for v in ours], [v / sum(theirs) for v in theirs]
            found.append(sum(a * math.log(a / d) for a, d in zip(p, q, strict=True)))
    return temperature**2 * sum(found) / len(found)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_against_loops(temperature):
    s, t = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)
    got = channel_wise(s, t, temperature).item()
    assert got == pytest.approx(naive(s, t, temperature), rel=1e-9)


def test_it_is_soft_targets_with_places_as_classes():
    s, t = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)
    turned = [one.flatten(2).transpose(1, 2)[..., None] for one in (s, t)]
    torch.testing.assert_close(channel_wise(s, t, 3.0), pixel_wise(*turned, 3.0))


def test_an_offset_of_a_channel_is_not_seen_and_one_of_a_place_is():
    s, t = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)
    value = channel_wise(s, t)
    torch.testing.assert_close(channel_wise(s + draw(2, 4, 1, 1, seed=2), t), value)
    assert abs(channel_wise(s + draw(2, 1, 3, 2, seed=2), t) - value) > 1e-3
    assert channel_wise(t + 3, t).item() == pytest.approx(0, abs=1e-12)


def test_a_hot_softmax_compares_centred_maps():
    s, t = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)
    gap = s - t - (s - t).mean((2, 3), keepdim=True)
    limit = gap.square().mean((2, 3)).mean() / 2
    assert channel_wise(s, t, 1e4).item() == pytest.approx(limit.item(), rel=1e-3)


def test_gradients_and_extremes():
    s, t = draw(2, 3, 2, 2).requires_grad_(), draw(2, 3, 2, 2, seed=1).requires_grad_()
    assert gradcheck(lambda a, b: channel_wise(a, b, 2.0), (s, t))
    one = torch.tensor([1e4, -1e4]).view(1, 1, 1, 2)
    assert channel_wise(one, -one, 1.0).item() == pytest.approx(2e4)
    assert channel_wise(torch.ones(1, 1, 1, 1), 5 * torch.ones(1, 1, 1, 1)) == 0


def test_wrong_maps():
    with pytest.raises(ValueError, match="the same number of channels"):
        channel_wise(draw(2, 4, 3, 2), draw(2, 3, 3, 2))
    with pytest.raises(ValueError, match="the same batch size, height, width"):
        channel_wise(draw(2, 4, 3, 2), draw(2, 4, 2, 2))
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        channel_wise(draw(2, 4, 3, 2), draw(2, 4, 3, 2), -1)
    assert channel_wise(torch.full((1, 2, 2, 2), math.nan), torch.ones(1, 2, 2, 2)).isnan()
