"""Structured distillation: loops over places and pairs, what each loss does not see, and wrong maps."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck
from torch.nn import functional as F

from kdnb.losses import pair_wise, pixel_wise, soft_targets


def softmax(values):
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def naive_pixels(s, t, temperature):
    found = []
    for b in range(len(s)):
        for y in range(s.shape[2]):
            for x in range(s.shape[3]):
                q = softmax([v / temperature for v in s[b, :, y, x].tolist()])
                p = softmax([v / temperature for v in t[b, :, y, x].tolist()])
                found.append(sum(a * math.log(a / c) for a, c in zip(p, q, strict=True)))
    return temperature**2 * sum(found) / len(found)


def naive_pairs(s, t):
    def cosines(maps):
        places = maps.flatten(1).T.tolist()
        norms = [math.sqrt(sum(v * v for v in one)) for one in places]
        return [
            sum(a * b for a, b in zip(one, other, strict=True)) / n / m
            for one, n in zip(places, norms, strict=True)
            for other, m in zip(places, norms, strict=True)
        ]

    found = [
        (a - b) ** 2
        for one, other in zip(s, t, strict=True)
        for a, b in zip(cosines(one), cosines(other), strict=True)
    ]
    return sum(found) / len(found)


def test_pixels_against_loops():
    s, t = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)
    for temperature in (1.0, 3.0):
        got = pixel_wise(s, t, temperature).item()
        assert got == pytest.approx(naive_pixels(s, t, temperature), rel=1e-9)


def test_pixels_are_rows_of_soft_targets():
    s, t = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=1)
    rows = [one.permute(0, 2, 3, 1).reshape(-1, 4) for one in (s, t)]
    torch.testing.assert_close(pixel_wise(s, t, 3.0), soft_targets(*rows, 3.0))


def test_the_authors_cross_entropy_has_the_same_gradient_at_1():
    s, t = draw(2, 4, 3, 2).requires_grad_(), draw(2, 4, 3, 2, seed=1)
    cross = -(t.softmax(1) * s.log_softmax(1)).sum(1).mean()
    ours = torch.autograd.grad(pixel_wise(s, t), s)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(cross, s)[0])


def test_a_mean_over_classes_hides_the_loss():
    s, t = draw(2, 11, 3, 2), draw(2, 11, 3, 2, seed=1)
    hidden = F.kl_div(
        s.log_softmax(1), t.softmax(1), reduction="none"
    ).mean()  # KLDivLoss's default
    torch.testing.assert_close(pixel_wise(s, t), 11 * hidden)


@pytest.mark.parametrize("channels", [4, 7])
def test_pairs_against_loops(channels):
    s, t = draw(2, 4, 3, 2), draw(2, channels, 3, 2, seed=1)
    assert pair_wise(s, t).item() == pytest.approx(naive_pairs(s, t), rel=1e-9)


def test_maps_are_pooled_to_nodes_first():
    s, t = draw(2, 4, 8, 8), draw(2, 3, 4, 4, seed=1)
    pooled = F.avg_pool2d(s, 4), F.avg_pool2d(t, 2)
    torch.testing.assert_close(pair_wise(s, t, 2), pair_wise(*pooled, 8))
    torch.testing.assert_close(pair_wise(s, t), pair_wise(F.avg_pool2d(s, 2), t))


def test_pairs_see_no_rotation_of_channels_and_no_scale_of_a_place():
    s, t = draw(2, 4, 3, 2), draw(2, 5, 3, 2, seed=1)
    turn = torch.linalg.qr(draw(4, 4, seed=2))[0]
    turned = torch.einsum("dc,bchw->bdhw", turn, s)
    value = pair_wise(s, t)
    torch.testing.assert_close(pair_wise(turned, t), value)
    torch.testing.assert_close(pair_wise(draw(2, 1, 3, 2, seed=3).abs() * s, 7 * t), value)
    torch.testing.assert_close(pair_wise(t, s), value)


def test_gradients_and_extremes():
    s, t = draw(2, 4, 3, 2).requires_grad_(), draw(2, 4, 3, 2, seed=1).requires_grad_()
    assert gradcheck(lambda a, b: pair_wise(a, b, 2), (s, t))
    assert gradcheck(lambda a, b: pixel_wise(a, b, 2.0), (s, t))
    for scale in (1e-12, 1e12):
        far = (scale * draw(2, 4, 3, 2)).float()
        assert pair_wise(far, t.detach()).isfinite() and pixel_wise(far, far) == 0
    nothing = torch.zeros(1, 2, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(pair_wise(nothing, torch.ones(1, 2, 2, 2)), nothing)
    assert gradient.eq(0).all()
    sure = torch.tensor([500.0, -500.0]).view(1, 2, 1, 1)
    assert pixel_wise(sure, -sure).item() == pytest.approx(1000)


def test_wrong_maps():
    with pytest.raises(ValueError, match="the same batch size"):
        pair_wise(draw(2, 4, 3, 2), draw(3, 4, 3, 2))
    with pytest.raises(ValueError, match="nodes must be at least 1, a whole number; got 0"):
        pair_wise(draw(2, 4, 3, 2), draw(2, 4, 3, 2), 0)
    with pytest.raises(ValueError, match="the same batch size, channels, height, width"):
        pixel_wise(draw(2, 4, 3, 2), draw(2, 5, 3, 2))
    with pytest.raises(ValueError, match="temperature must be a finite number above 0; got 0"):
        pixel_wise(draw(2, 4, 3, 2), draw(2, 4, 3, 2), 0)
    assert pair_wise(torch.full((1, 2, 2, 2), math.nan), torch.ones(1, 2, 2, 2)).isnan()
