"""Chen's detection losses: when the bound holds, where the gradient points, and the background's weight."""

import math

import pytest
import torch
from draws import draw
from torch.autograd import gradcheck

from kdnb.losses import bounded_regression, soft_targets, weighted_soft_targets


def naive_bound(s, t, y, margin):
    found = []
    for ours, theirs, true in zip(s.tolist(), t.tolist(), y.tolist(), strict=True):
        a = sum((p - q) ** 2 for p, q in zip(ours, true, strict=True))
        b = sum((p - q) ** 2 for p, q in zip(theirs, true, strict=True))
        found.append(a if a + margin > b else 0.0)
    return sum(found) / len(found)


@pytest.mark.parametrize("margin", [0.0, 0.5, 100.0])
def test_the_bound_against_loops(margin):
    s, t, y = draw(7, 4), draw(7, 4, seed=1), draw(7, 4, seed=2)
    got = bounded_regression(s, t, y, margin).item()
    assert got == pytest.approx(naive_bound(s, t, y, margin), rel=1e-12)
    if margin == 0.5:
        assert 0 < got < (s - y).square().sum(1).mean()


def test_a_student_better_by_the_margin_has_no_loss_and_no_gradient():
    y, t = torch.zeros(1, 4), torch.ones(1, 4)  # the teacher's squared error is 4
    for error, margin, zero in (
        (0.9, 0.0, True),
        (0.9, 1.0, False),
        (0.5, 1.0, True),
        (1.0, 0.0, True),
    ):
        s = torch.full((1, 4), error, requires_grad=True)
        value = bounded_regression(s, t, y, margin)
        (gradient,) = torch.autograd.grad(value, s)
        assert (value == 0) == zero and gradient.eq(0).all() == zero


def test_the_gradient_points_to_the_true_box_whatever_the_teacher_says():
    s, y = draw(5, 4).requires_grad_(), draw(5, 4, seed=1)
    for seed in (2, 3):
        near = y + 1e-3 * draw(5, 4, seed=seed)
        (gradient,) = torch.autograd.grad(bounded_regression(s, near, y), s)
        torch.testing.assert_close(gradient, 2 * (s.detach() - y) / 5)


def test_no_gradient_flows_into_the_teacher():
    s, t = draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_()
    assert not bounded_regression(s.detach(), t, draw(3, 4, seed=2)).requires_grad
    assert gradcheck(lambda a: bounded_regression(a, t, draw(3, 4, seed=2), 0.3), (s,))


def test_weights_of_the_background_against_loops():
    s, t = draw(5, 3), draw(5, 3, seed=1)
    total = 0.0
    for ours, theirs in zip(s.log_softmax(1).tolist(), t.softmax(1).tolist(), strict=True):
        total -= sum((1.5 if c == 2 else 1) * theirs[c] * ours[c] for c in range(3))
    assert weighted_soft_targets(s, t, 2).item() == pytest.approx(total / 5)


def test_without_a_weight_it_is_the_cross_entropy_of_soft_targets():
    s, t = draw(5, 3).requires_grad_(), draw(5, 3, seed=1)
    one = torch.autograd.grad(weighted_soft_targets(s, t, 0, 1.0), s)[0]
    torch.testing.assert_close(one, torch.autograd.grad(soft_targets(s, t, 1.0), s)[0])
    hot = torch.autograd.grad(9 * weighted_soft_targets(s, t, 0, 1.0, 3.0), s)[0]
    torch.testing.assert_close(hot, torch.autograd.grad(soft_targets(s, t, 3.0), s)[0])


def test_gradients_and_extremes():
    s, t = draw(5, 3).requires_grad_(), draw(5, 3, seed=1).requires_grad_()
    assert gradcheck(weighted_soft_targets, (s, t))
    sure = torch.tensor([[300.0, 0.0]])
    assert weighted_soft_targets(-sure, sure).item() == pytest.approx(450)
    assert bounded_regression(sure * 1e6, sure, sure).isfinite()


def test_a_class_that_both_exclude_adds_nothing():
    s, t = draw(5, 3), draw(5, 3, seed=1)
    never = torch.full((5, 1), -math.inf, dtype=s.dtype)
    longer = weighted_soft_targets(torch.cat([s, never], 1), torch.cat([t, never], 1))
    torch.testing.assert_close(longer, weighted_soft_targets(s, t))


def test_wrong_boxes():
    boxes = torch.ones(3, 4)
    with pytest.raises(ValueError, match=r"boxes must be \(batch, values\), all of one shape"):
        bounded_regression(boxes, boxes, torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"boxes must be \(batch, values\), all of one shape"):
        bounded_regression(*[torch.ones(3, 2, 2)] * 3)
    with pytest.raises(ValueError, match="margin must be at least 0; got -1"):
        bounded_regression(boxes, boxes, boxes, -1)
    with pytest.raises(ValueError, match=r"background must lie in \[0, 3\], a whole number; got 4"):
        weighted_soft_targets(boxes, boxes, 4)
    for place in range(3):
        given = [boxes, 2 * boxes, 3 * boxes]
        given[place] = torch.full((3, 4), math.nan)
        assert bounded_regression(*given).isnan()
