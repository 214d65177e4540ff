"""Pixel entropies against the closed form of a linear layer, and counts against loops."""

import math

import pytest
import torch

from kdnb.methods.theory import (
    knowledge_points,
    learning_speed,
    pixel_entropies,
    small_noise_entropies,
    stability,
)
from kdnb.methods.theory.knowledge_points import CONSTANT


def test_a_linear_layer_has_a_closed_form():
    """|W(s * e)|^2 is on average sum of s_i^2 |w_i|^2: the best s_i is inverse to |w_i|."""
    lengths = torch.tensor([1.0, 2.0, 4.0, 0.5])
    images = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    found = pixel_entropies(
        lambda x: x.flatten(1) * lengths, images, budget=3.0, noise=0.1, steps=400, samples=64
    )
    scale = 0.1**2 * float(lengths.square().sum())  # delta squared
    exact = small_noise_entropies(lambda x: x.flatten(1) * lengths, images, budget=3.0, noise=0.1)
    for image in range(2):
        for place, length in enumerate(lengths.tolist()):
            sigma = math.sqrt(3.0 * scale / (2 * 4)) / length
            wanted = math.log(sigma) + CONSTANT
            assert float(found[image].flatten()[place]) == pytest.approx(wanted, abs=0.1)
            assert float(exact[image].flatten()[place]) == pytest.approx(wanted, abs=1e-5)


def test_a_block_shares_one_sigma():
    """Then the closed form holds with the lengths of a block added up as squares."""
    lengths = torch.tensor([[1.0, 2.0, 0.5, 0.5], [1.0, 1.0, 0.5, 3.0]])
    images = torch.zeros(1, 1, 2, 4)
    found = pixel_entropies(
        lambda x: (x * lengths).flatten(1), images, block=2, noise=0.1, steps=400, samples=64
    )
    assert found.shape == (1, 1, 2)
    squares = [1 + 4 + 1 + 1, 0.25 + 0.25 + 0.25 + 9]
    wanted = 0.5 * math.log(squares[0] / squares[1])  # H of the second minus H of the first
    assert float(found[0, 0, 1] - found[0, 0, 0]) == pytest.approx(wanted, abs=0.1)
    exact = small_noise_entropies(lambda x: (x * lengths).flatten(1), images, block=2, noise=0.1)
    assert float(exact[0, 0, 1] - exact[0, 0, 0]) == pytest.approx(wanted, abs=1e-5)


def test_small_noise_by_differences():
    """The gradients' squared lengths of a curved layer of two channels, one pixel after the other."""
    weight = torch.randn(18, 5, generator=torch.Generator().manual_seed(2)).double()
    images = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(3)).double()

    def features(x):
        return (x.flatten(1) @ weight).tanh()

    squares = torch.zeros(9)
    for place in range(9):
        for channel in range(2):
            step = torch.zeros_like(images)
            step[0, channel, place // 3, place % 3] = 1e-5
            slope = (features(images + step) - features(images - step)) / 2e-5
            squares[place] += float(slope.square().sum())
    wanted = [
        0.5 * math.log(7 * 0.01**2 * float(squares.sum()) / (2 * 9 * float(square))) + CONSTANT
        for square in squares
    ]
    found = small_noise_entropies(features, images)
    assert found.flatten().tolist() == pytest.approx(wanted, abs=1e-4)


def test_neither_the_scale_of_features_nor_the_budget_matters_to_differences():
    """In a linear layer the noise grows with the budget alike at every place."""
    weight = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    images = torch.zeros(1, 1, 3, 3)
    one, larger, dearer = (
        pixel_entropies(
            lambda x, size=size: size * x.flatten(1) @ weight, images, budget=budget, steps=300,
            samples=32,
        )
        for size, budget in ((1.0, 7.0), (100.0, 7.0), (1.0, 28.0))
    )  # fmt: skip
    assert torch.allclose(one, larger, atol=1e-3)
    assert torch.allclose(dearer - one, torch.full_like(one, math.log(2)), atol=0.1)


def test_a_pixel_that_no_feature_reads_bears_any_noise():
    images = torch.randn(2, 1, 3, 3)
    mask = torch.ones(3, 3)
    mask[0, 0] = 0
    found = pixel_entropies(lambda x: (x * mask).flatten(1), images, steps=60)
    assert (found[:, 0, 0] > found.flatten(1)[:, 1:].amax(1) + 1).all()
    exact = small_noise_entropies(lambda x: (x * mask).flatten(1), images)
    assert torch.allclose(exact[:, 0, 0], torch.tensor(CONSTANT))  # the largest sigma is 1


def test_counts_by_hand():
    entropies = torch.tensor([[[0.0, 1.0, 1.0], [0.5, 1.0, 0.2]]])
    foreground = torch.tensor([[[True, True, False], [True, False, False]]])
    background = (1.0 + 1.0 + 0.2) / 3
    own = sum(background - h > 0.2 for h in (0.0, 1.0, 0.5))
    other = sum(background - h > 0.2 for h in (1.0, 1.0, 0.2))
    found = knowledge_points(entropies, foreground)
    assert (int(found["foreground"]), int(found["background"])) == (own, other) == (2, 1)
    assert float(found["quality"]) == pytest.approx(2 / 3)
    assert found["kept"].tolist() == [[[True, False, False], [True, False, True]]]
    nothing = knowledge_points(torch.zeros(1, 2, 3), foreground)
    assert float(nothing["quality"]) == 0


def test_learning_speed_by_a_loop():
    counts = torch.tensor([[1, 5, 2], [4, 5, 3], [4, 1, 9]])
    distances = torch.tensor([0.5, 1.0, 4.0])
    at = []
    for image in range(3):
        course = [int(counts[step, image]) for step in range(3)]
        at.append(float(distances[course.index(max(course))]))
    assert at == [1.0, 0.5, 4.0]
    mean = sum(at) / 3
    found = learning_speed(counts, distances)
    assert found == pytest.approx((mean, sum((d - mean) ** 2 for d in at) / 3))
    assert learning_speed(counts[:1], distances[:1]) == (0.5, 0.0)


def test_stability_by_sets():
    kept = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) > 0.8
    kept[:, 2] = False  # an image of which nothing is kept
    found = stability(kept)
    for image in range(3):
        sets = [{tuple(place) for place in kept[m, image].nonzero().tolist()} for m in range(4)]
        ever = set().union(*sets)
        wanted = len(sets[-1]) / len(ever) if ever else 0
        assert float(found[image]) == pytest.approx(wanted)
    assert torch.equal(stability(kept[:1, :2]), torch.ones(2))


def test_the_same_seed_gives_the_same_entropies():
    images = torch.randn(2, 1, 3, 3)
    one, other = (
        pixel_entropies(lambda x: x.flatten(1).tanh(), images, steps=5, seed=3) for _ in range(2)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: pixel_entropies(lambda x: x, torch.ones(1, 2, 2)), "batch, channels"),
    (lambda: pixel_entropies(lambda x: x, torch.ones(1, 1, 2, 3), block=2), "does not divide"),
    (lambda: pixel_entropies(lambda x: 0 * x, torch.ones(1, 1, 2, 2)), "image 0"),
    (lambda: small_noise_entropies(lambda x: 0 * x, torch.ones(1, 1, 2, 2)), "image 0"),
    (lambda: small_noise_entropies(lambda x: x, torch.ones(1, 1, 2, 2), budget=0.0), "above 0"),
    (lambda: pixel_entropies(lambda x: x, torch.ones(2, 1, 2, 2), budget=0.0), "above 0"),
    (lambda: knowledge_points(torch.ones(1, 2, 2), torch.ones(1, 2, 3, dtype=torch.bool)), "both are"),
    (lambda: knowledge_points(torch.ones(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)), "background"),
    (lambda: learning_speed(torch.ones(3, 2), torch.ones(2)), "distances"),
    (lambda: stability(torch.ones(3, 2, 2)), "checkpoints"),
])  # fmt: skip
def test_wrong_wishes(call, message):
    with pytest.raises(ValueError, match=message):
        call()
