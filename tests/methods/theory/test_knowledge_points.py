"""Pixel entropies against the closed form of a linear layer, and counts against loops."""

import math

import pytest
import torch

from kdnb.methods.theory import knowledge_points, pixel_entropies
from kdnb.methods.theory.knowledge_points import CONSTANT


def test_a_linear_layer_has_a_closed_form():
    """|W(s * e)|^2 is on average sum of s_i^2 |w_i|^2: the best s_i is inverse to |w_i|."""
    torch.manual_seed(0)
    weight = torch.diag(torch.tensor([1.0, 2.0, 4.0, 0.5]))
    images = torch.randn(2, 1, 2, 2)
    found = pixel_entropies(
        lambda x: x.flatten(1) @ weight, images, budget=0.2, steps=400, lr=0.05, samples=64
    )
    clean = images.flatten(1) @ weight
    scale = float((clean - clean.roll(1, 0)).square().sum(1).mean())
    for image in range(2):
        for place in range(4):
            size = float(weight[place, place])
            sigma = math.sqrt(0.2 * scale / (2 * 4)) / size
            assert float(found[image].flatten()[place]) == pytest.approx(
                math.log(sigma) + CONSTANT, abs=0.15
            )


def test_a_pixel_that_no_feature_reads_bears_any_noise():
    images = torch.randn(2, 1, 3, 3)
    mask = torch.ones(3, 3)
    mask[0, 0] = 0
    found = pixel_entropies(lambda x: (x * mask).flatten(1), images, steps=60)
    assert (found[:, 0, 0] > found.flatten(1)[:, 1:].amax(1) + 1).all()


def test_counts_by_hand():
    entropies = torch.tensor([[[0.0, 1.0, 1.0], [0.5, 1.0, 0.2]]])
    foreground = torch.tensor([[[True, True, False], [True, False, False]]])
    background = (1.0 + 1.0 + 0.2) / 3
    own = sum(background - h > 0.2 for h in (0.0, 1.0, 0.5))
    other = sum(background - h > 0.2 for h in (1.0, 1.0, 0.2))
    found = knowledge_points(entropies, foreground)
    assert (int(found["foreground"]), int(found["background"])) == (own, other) == (2, 1)
    assert float(found["quality"]) == pytest.approx(2 / 3)
    nothing = knowledge_points(torch.zeros(1, 2, 3), foreground)
    assert float(nothing["quality"]) == 0


def test_the_same_seed_gives_the_same_entropies():
    images = torch.randn(2, 1, 3, 3)
    one, other = (
        pixel_entropies(lambda x: x.flatten(1).tanh(), images, steps=5, seed=3) for _ in range(2)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: pixel_entropies(lambda x: x, torch.ones(1, 1, 2, 2)), "two or more"),
    (lambda: pixel_entropies(lambda x: x, torch.ones(2, 1, 2, 2), budget=0.0), "above 0"),
    (lambda: knowledge_points(torch.ones(1, 2, 2), torch.ones(1, 2, 3, dtype=torch.bool)), "both are"),
    (lambda: knowledge_points(torch.ones(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)), "background"),
])  # fmt: skip
def test_wrong_wishes(call, message):
    with pytest.raises(ValueError, match=message):
        call()
