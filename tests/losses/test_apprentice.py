"""Apprentice's loss: by loops, its least value, and whom each term moves."""

import math

import pytest
import torch
from draws import draw_wide

from kdnb import losses

Y = torch.tensor([1, 0, 3, 3])
WEIGHTS = {"teacher_weight": 0.7, "label_weight": 0.2, "imitation_weight": 0.4}


def by_loops(z, v, labels, alpha, beta, gamma):
    total = 0.0
    for i in range(len(z)):
        p_a = [math.exp(x) for x in z[i].tolist()]
        p_t = [math.exp(x) for x in v[i].tolist()]
        p_a, p_t = [x / sum(p_a) for x in p_a], [x / sum(p_t) for x in p_t]
        total -= alpha * math.log(p_t[labels[i]]) + beta * math.log(p_a[labels[i]])
        for k in range(len(p_a)):
            total -= gamma * p_t[k] * math.log(p_a[k])
    return total / len(z)


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_by_loops(seed):
    z, v = draw_wide(4, 5, seed=seed), draw_wide(4, 5, seed=seed + 10)
    found = losses.apprenticeship(z, v, Y, **WEIGHTS)
    assert float(found) == pytest.approx(by_loops(z, v, Y, 0.7, 0.2, 0.4), rel=1e-10)


def test_an_apprentice_alone_and_plain_distillation_are_cases():
    z, v = draw_wide(4, 5), draw_wide(4, 5, seed=1)
    only = {"teacher_weight": 0.0, "label_weight": 0.0, "imitation_weight": 0.0}
    hard = losses.apprenticeship(z, v, Y, **{**only, "label_weight": 1.0})
    torch.testing.assert_close(hard, losses.hard_loss(z, Y))
    soft = losses.apprenticeship(z, v, Y, **{**only, "imitation_weight": 1.0})
    p = v.softmax(1)
    entropy = -(p * p.log()).sum(1).mean()
    torch.testing.assert_close(soft, losses.soft_targets(z, v, 1.0) + entropy)


def test_the_gradients_of_both_networks():
    z, v = draw_wide(4, 5).requires_grad_(), draw_wide(4, 5, seed=1).requires_grad_()
    losses.apprenticeship(z, v, Y, **WEIGHTS).backward()
    label = torch.nn.functional.one_hot(Y, 5)
    p, q = v.detach().softmax(1), z.detach().softmax(1)
    torch.testing.assert_close(z.grad, (0.2 * (q - label) + 0.4 * (q - p)) / 4)
    torch.testing.assert_close(v.grad, 0.7 * (p - label) / 4)  # nothing from the third term


def test_the_least_value_is_at_the_mixture_of_label_and_teacher():
    v = draw_wide(4, 5, seed=1)
    mixture = (0.5 * torch.nn.functional.one_hot(Y, 5) + 0.5 * v.softmax(1)).clamp_min(1e-300)
    z = mixture.log().requires_grad_()
    value = losses.apprenticeship(z, v, Y)
    assert torch.autograd.grad(value, z)[0].abs().max() < 1e-12
    for seed in range(5):
        other = losses.apprenticeship(z.detach() + draw_wide(4, 5, seed=seed), v, Y)
        assert other > value


def test_wrong_arguments_are_named():
    z, v = draw_wide(4, 5), draw_wide(4, 5, seed=1)
    with pytest.raises(ValueError, match="labels must lie in 0 to 4"):
        losses.apprenticeship(z, v, torch.tensor([1, 0, 3, 5]))
    with pytest.raises(ValueError, match="label_weight must be at least 0"):
        losses.apprenticeship(z, v, Y, label_weight=-1.0)
    with pytest.raises(ValueError, match="same shape"):
        losses.apprenticeship(z, v[:, :4], Y)
