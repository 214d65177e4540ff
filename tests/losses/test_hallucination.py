"""Modality hallucination: the distance of what is on, sample by sample."""

import math

import pytest
import torch
from draws import MAPS, draw

from kdnb.losses import hallucination_loss


def test_against_a_loop():
    made, real = draw(*MAPS), draw(*MAPS, seed=1)
    total = 0.0
    for a, b in zip(made.flatten(1).tolist(), real.flatten(1).tolist(), strict=True):
        on = [(1 / (1 + math.exp(-x)), 1 / (1 + math.exp(-y))) for x, y in zip(a, b, strict=True)]
        total += sum((x - y) ** 2 for x, y in on)
    assert hallucination_loss(made, real).item() == pytest.approx(total / len(made), rel=1e-12)


def test_it_is_alike_both_ways_and_bounded_by_the_number_of_values():
    made, real = draw(*MAPS), draw(*MAPS, seed=1)
    assert hallucination_loss(made, real).item() == pytest.approx(
        hallucination_loss(real, made).item()
    )
    off, on = (torch.full(MAPS, value) for value in (-1e4, 1e4))
    assert hallucination_loss(off, on) == made[0].numel()


def test_what_is_fully_on_may_be_of_any_size():
    """The sigmoid: 50 and 90 are the same, unlike in a plain distance."""
    assert hallucination_loss(torch.full((1, 1, 1, 1), 50.0), torch.full((1, 1, 1, 1), 90.0)) == 0


def test_the_gradient_by_hand():
    made, real = draw(*MAPS).requires_grad_(), draw(*MAPS, seed=1)
    (found,) = torch.autograd.grad(hallucination_loss(made, real), made)
    p = made.detach().sigmoid()
    torch.testing.assert_close(found, 2 * (p - real.sigmoid()) * p * (1 - p) / len(made))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="hallucinated_maps"):
        hallucination_loss(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"\(2, 3, 1, 1\)"):
        hallucination_loss(torch.zeros(2, 3, 1, 1), torch.zeros(2, 4, 1, 1))
