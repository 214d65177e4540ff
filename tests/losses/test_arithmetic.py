"""Shared arithmetic: distances far from the origin and of close pairs, divergences, zeros, NaN."""

import math

import pytest
import torch
from draws import close_pairs, draw, draw_wide
from torch.autograd import gradgradcheck

from kdnb import losses
from kdnb.losses import (
    _arithmetic,
    irg_edges,
    rkd_angle,
    rkd_distance,
)


@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, irg_edges])
def test_far_from_the_origin_no_digit_is_lost(loss, limit, monkeypatch):
    """At an offset of 1e6 a plain Gram matrix is off by 3e-4; storing the numbers costs 1e-10."""
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    s, t = draw_wide(8, 16, scale=1.0), draw_wide(8, 16, scale=1.0, seed=1)
    assert abs(loss(s + 1e6, t - 1e6) - loss(s, t)) < 1e-8 * loss(s, t)


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, irg_edges])
@pytest.mark.parametrize("limit", [2**22, 0], ids=["differences", "product"])
def test_far_from_the_origin_the_gradient_stays(loss, limit, monkeypatch):
    monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
    gradients = []
    for offset in (0, 1e6):
        student, teacher = (draw_wide(8, 16, scale=1.0, seed=i) + offset for i in (0, 1))
        student.requires_grad_()
        gradients.append(torch.autograd.grad(loss(student, -teacher), student)[0])
    torch.testing.assert_close(*gradients[::-1], rtol=0, atol=1e-8 * gradients[0].abs().max())


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, irg_edges])
def test_large_maps_far_from_the_origin_in_float32(loss):
    """At 1e3 float32 holds 1e-4 of a number of size 1; the loss keeps what was stored."""
    s, t = ((draw_wide(40, 3000, scale=1.0, seed=i) + 1e3).float() for i in (0, 1))
    assert not _arithmetic.is_small(s)
    exact = loss(s.double(), t.double()).item()
    assert loss(s, t).item() == pytest.approx(exact, rel=1e-3)


def test_gram_has_the_gradients_of_a_product():
    samples, weights = draw_wide(5, 7).requires_grad_(), draw_wide(5, 5, seed=1)
    torch.testing.assert_close(_arithmetic.gram(samples), samples @ samples.T)
    ours, plain = (
        torch.autograd.grad((weights * products).sum(), samples)[0]
        for products in (_arithmetic.gram(samples), samples @ samples.T)
    )
    torch.testing.assert_close(ours, plain)
    assert gradgradcheck(_arithmetic.gram, samples)


PAIRED = {
    "distance": losses.rkd_distance,
    "angle": losses.rkd_angle,
    "hybrid": losses.hybrid_transfer,
    "locality": lambda s, t: losses.locality_preserving(s, t, bandwidth=1.0),
    "edges": losses.irg_edges,
}


@pytest.mark.parametrize("loss", PAIRED.values(), ids=PAIRED)
def test_close_pairs_keep_their_digits_in_large_batches(loss, monkeypatch):
    """Products of float32 alone are 20% off in the gradients of such a batch."""
    student, teacher = close_pairs(0), close_pairs(50)
    assert not _arithmetic.is_small(student)
    results = []
    for limit, dtype in ((2**22, torch.float32), (2**40, torch.float64)):
        monkeypatch.setattr(_arithmetic, "PAIRWISE_LIMIT", limit)
        moved = student.to(dtype).requires_grad_()
        value = loss(moved, teacher.to(dtype))
        results.append((value.item(), torch.autograd.grad(value, moved)[0].double()))
    (value, gradient), (truth, slope) = results
    assert value == pytest.approx(truth, rel=1e-5)
    assert (gradient - slope).norm() < 1e-4 * slope.norm()


def test_batches_without_close_pairs_stay_in_float32():
    apart = draw(96, 512).float()
    assert _arithmetic.centred_gram(apart).dtype == torch.float32
    assert _arithmetic.centred_gram(close_pairs()).dtype == torch.float64
    assert _arithmetic.squared_distances(close_pairs()).dtype == torch.float32


def test_root_ratio_and_unit_know_zero_from_nan():
    values = torch.tensor([0.0, 4.0, math.nan], requires_grad=True)
    roots = _arithmetic.root(values)
    torch.testing.assert_close(roots, torch.tensor([0.0, 2.0, math.nan]), equal_nan=True)
    (gradient,) = torch.autograd.grad(roots[:2].sum(), values)
    assert gradient[:2].tolist() == [0.0, 0.25]
    shares = _arithmetic.ratio(torch.ones(3), values.detach())
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.25, math.nan]), equal_nan=True)
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [math.nan, 1.0]], requires_grad=True)
    units = _arithmetic.unit(vectors)
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [math.nan, math.nan]])
    torch.testing.assert_close(units, expected, equal_nan=True)
    assert torch.autograd.grad(units[1].sum(), vectors)[0][1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_beyond_linear_against_its_series(dtype):
    points = torch.tensor([1e-8, -1e-4, 0.01, -0.2, 0.249, 0.251, -0.7, 2.0, -30.0], dtype=dtype)
    got = _arithmetic._beyond_linear(points)
    for x, value in zip(points.tolist(), got.tolist(), strict=True):
        series = sum(x**k / math.factorial(k) for k in range(2, 30))
        truth = math.exp(x) - 1 - x if abs(x) > 3 else series
        assert value == pytest.approx(truth, rel=10 * torch.finfo(dtype).eps)
