"""Input gradients as knowledge, against loops; and what matching them is worth (Srinivas 2018)."""

import pytest
import torch
from draws import draw
from loops import distance, lists, normal

from kdnb import losses


def test_jacobian_matching_against_loops():
    student, teacher = draw(4, 2, 3, 3), draw(4, 2, 3, 3, seed=1)
    expected = sum(
        distance(normal(s), normal(t)) ** 2 for s, t in zip(lists(student), lists(teacher), strict=True)
    ) / 4  # fmt: skip
    assert losses.jacobian_matching(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_gradient_attention_against_loops():
    student, teacher = draw(4, 2, 3, 3), draw(4, 2, 3, 3, seed=1)
    expected = sum(distance(s, t) for s, t in zip(lists(student), lists(teacher), strict=True)) / 4
    assert losses.gradient_attention(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_directions_count_and_not_lengths():
    student, teacher = draw(4, 6), draw(4, 6, seed=1)
    value = losses.jacobian_matching(student, teacher)
    assert losses.jacobian_matching(5 * student, teacher / 3).item() == pytest.approx(value.item())
    assert losses.jacobian_matching(student, student).item() == pytest.approx(0, abs=1e-12)
    assert losses.jacobian_matching(student, -student).item() == pytest.approx(4)


def test_soft_targets_with_noise_match_jacobians_too():
    """E |z_T(x + e) - z_S(x + e)|² = |z_T - z_S|² + s² |J_T - J_S|², exact for linear networks."""
    ours, theirs, x, sd = draw(3, 4), draw(3, 4, seed=1), draw(4, seed=2), 0.3
    gap = theirs - ours
    closed = (gap @ x).square().sum() + sd**2 * gap.square().sum()
    corners = torch.cat([torch.eye(4), -torch.eye(4)]).double() * sd * 4**0.5  # of covariance sd²
    met = (gap @ (x + corners).T).square().sum(0).mean()
    torch.testing.assert_close(met, closed)


def test_gradients_flow_through_the_student_s_gradient():
    x, weight = draw(3, 4).requires_grad_(), draw(4, 2, seed=1).requires_grad_()
    logits = torch.tanh(x @ weight)
    (mine,) = torch.autograd.grad(logits[:, 0].sum(), x, create_graph=True)
    losses.jacobian_matching(mine, draw(3, 4, seed=2)).backward()
    assert weight.grad.abs().sum() > 0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape, that of the inputs"):
        losses.jacobian_matching(draw(3, 4), draw(3, 5))
