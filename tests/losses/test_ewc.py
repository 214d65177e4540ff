"""EWC's penalty: a weighted square, several old tasks as one, and what it means for a Gaussian."""

import pytest
import torch
from draws import draw

from kdnb.losses import elastic_penalty

SHAPES = [(3, 2), (4,), (1,)]


def drawn(seed):
    return [draw(*shape, seed=seed + n) for n, shape in enumerate(SHAPES)]


def test_against_loops():
    here, there, weight, total = drawn(0), drawn(5), [w.abs() for w in drawn(9)], 0.0
    for a, b, f in zip(here, there, weight, strict=True):
        for x, y, w in zip(a.flatten(), b.flatten(), f.flatten(), strict=True):
            total += w.item() * (x.item() - y.item()) ** 2 / 2
    assert elastic_penalty(here, there, weight).item() == pytest.approx(total, rel=1e-12)


def test_the_gradient_pulls_each_weight_by_its_importance():
    here = [one.requires_grad_() for one in drawn(0)]
    there, weight = drawn(5), [w.abs() for w in drawn(9)]
    found = torch.autograd.grad(elastic_penalty(here, there, weight), here)
    for g, a, b, f in zip(found, here, there, weight, strict=True):
        torch.testing.assert_close(g, (f * (a - b)).detach())


def test_the_terms_of_several_tasks_are_one_but_for_a_constant():
    anchors = [drawn(seed) for seed in (1, 11, 21)]
    weights = [[w.abs() for w in drawn(seed)] for seed in (31, 41, 51)]
    total = [sum(parts) for parts in zip(*weights, strict=True)]
    middle = [
        sum(f * t for f, t in zip(fs, ts, strict=True)) / whole
        for fs, ts, whole in zip(
            zip(*weights, strict=True), zip(*anchors, strict=True), total, strict=True
        )
    ]

    def gap(here):
        apart = sum(elastic_penalty(here, a, f) for a, f in zip(anchors, weights, strict=True))
        return apart - elastic_penalty(here, middle, total)

    torch.testing.assert_close(gap(drawn(0)), gap(drawn(7)))


def test_it_is_the_log_posterior_of_a_gaussian():
    """With F the curvature of a quadratic loss, the penalty is what that loss rises by."""
    curvature, anchor, here = draw(6).abs(), draw(6, seed=1), draw(6, seed=2)

    def loss(theta):
        return 1.5 + (curvature * (theta - anchor).square()).sum() / 2

    rise = loss(here) - loss(anchor)
    torch.testing.assert_close(elastic_penalty([here], [anchor], [curvature]), rise)


def test_wrong_lists_and_shapes():
    one = [torch.zeros(2)]
    with pytest.raises(ValueError, match="lists of one length"):
        elastic_penalty(one, one, one * 2)
    with pytest.raises(ValueError, match=r"got parameters \(2,\) and anchors \(2,\) and importances \(1,\)"):  # fmt: skip
        elastic_penalty(one, one, [torch.zeros(1)])
    with pytest.raises(ValueError, match="floating-point"):
        elastic_penalty(one, [torch.zeros(2, dtype=torch.int64)], one)
