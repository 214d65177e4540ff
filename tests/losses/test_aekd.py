"""The compromise of gradients: exact cases, brute force, and what the bound does."""

import itertools

import pytest
import torch
from draws import draw, draw_wide

from kdnb import losses


def brute_force(gradients, bound):
    """The best of all ways to put weights on their bounds and solve for the others."""
    gram, count = gradients @ gradients.T, len(gradients)
    best, found = float("inf"), None
    for places in itertools.product("0Cf", repeat=count):
        free = [k for k in range(count) if places[k] == "f"]
        fixed = [bound if place == "C" else 0.0 for place in places]
        weights = torch.tensor(fixed, dtype=torch.float64)
        if free:  # stationary on the plane where the free ones have the rest of the sum
            size = len(free)
            system = torch.zeros(size + 1, size + 1, dtype=torch.float64)
            system[:size, :size] = gram[free][:, free]
            system[:size, size] = system[size, :size] = 1
            right = torch.cat([-(gram @ weights)[free], 1 - weights.sum()[None]])
            weights[free] = (torch.linalg.pinv(system) @ right)[:size]
        legal = weights.min() > -1e-9 and weights.max() < bound + 1e-9
        if legal and abs(weights.sum() - 1) < 1e-9:
            value = float(weights @ gram @ weights)
            if value < best:
                best, found = value, weights
    return best, found


@pytest.mark.parametrize("bound", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_solver_against_brute_force(seed, bound):
    gradients = draw(4, 6, seed=seed) + 0.7 * draw(1, 6, seed=99)
    weights = losses.min_norm_weights(gradients, bound)
    best, expected = brute_force(gradients, bound)
    assert float((weights @ gradients).square().sum()) == pytest.approx(best, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-6)


def test_exact_cases():
    axes = torch.eye(3, dtype=torch.float64)
    third = torch.full((3,), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(losses.min_norm_weights(axes), third)
    torch.testing.assert_close(losses.min_norm_weights(axes[:2]), third[:2] * 1.5)
    # Of two parallel gradients the shorter one; of two opposite ones what cancels them.
    parallel = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    assert losses.min_norm_weights(parallel).tolist() == [1.0, 0.0]
    opposite = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    torch.testing.assert_close(losses.min_norm_weights(opposite), torch.tensor([0.75, 0.25]))
    assert losses.min_norm_weights(torch.zeros(4, 2)).tolist() == [0.25] * 4


def test_the_scale_is_free():
    gradients = draw(3, 5)
    scaled = losses.min_norm_weights(1e-20 * gradients, 0.5)
    torch.testing.assert_close(scaled, losses.min_norm_weights(gradients, 0.5))


def test_every_loss_falls_along_the_unbounded_compromise():
    gradients = draw(4, 10, seed=3) + draw(1, 10, seed=4)
    step = losses.min_norm_weights(gradients) @ gradients
    assert (gradients @ step >= step @ step - 1e-9).all()


@pytest.mark.parametrize("normalise", [False, True])
def test_weights_of_teachers_by_autograd(normalise):
    z = draw_wide(6, 4).requires_grad_()
    teachers = [draw_wide(6, 4, seed=seed) for seed in (1, 2, 3)]
    gradients = []
    for v in teachers:
        (gradient,) = torch.autograd.grad(losses.soft_targets(z, v, 2.0), z)
        gradients.append(gradient.sum(0))
    gradients = torch.stack(gradients)
    lengths = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    expected = losses.min_norm_weights(gradients / (lengths if normalise else 1), 0.6)
    if normalise:
        expected = expected / lengths[:, 0]
    expected = expected / expected.sum()
    found = losses.adaptive_weights(z, teachers, 2.0, 0.6, normalise)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


def test_the_tightest_bound_gives_the_gradient_of_the_mean_teacher():
    z, teachers = draw_wide(5, 4).requires_grad_(), [draw_wide(5, 4, seed=s) for s in (1, 2, 3)]
    loss = losses.adaptive_ensemble(z, teachers, 3.0, 1 / 3)
    mean = 3 * losses.ensemble_log_probabilities([v / 3 for v in teachers])
    ours, theirs = (
        torch.autograd.grad(one, z)[0] for one in (loss, losses.soft_targets(z, mean, 3.0))
    )
    torch.testing.assert_close(ours, theirs)


def test_the_gradient_holds_the_weights_constant():
    z, teachers = draw_wide(5, 4).requires_grad_(), [draw_wide(5, 4, seed=s) for s in (1, 2, 3)]
    (found,) = torch.autograd.grad(losses.adaptive_ensemble(z, teachers, 3.0), z)
    weights = losses.adaptive_weights(z, teachers, 3.0)
    expected = sum(
        w * torch.autograd.grad(losses.soft_targets(z, v, 3.0), z)[0]
        for w, v in zip(weights, teachers, strict=True)
    )
    torch.testing.assert_close(found, expected)


def test_a_teacher_far_off_gets_less():
    z = torch.zeros(64, 4, dtype=torch.float64)
    kind = [0.5 * draw(64, 4, seed=s) + torch.tensor([1.0, 0, 0, 0]) for s in (1, 2)]
    hostile = 0.5 * draw(64, 4, seed=3) + torch.tensor([0, 9.0, 0, 0])
    weights = losses.adaptive_weights(z, [*kind, hostile], 4.0, 0.6)
    assert weights[2] < weights[:2].min()
