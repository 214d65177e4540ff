"""Lifelong GAN's distillation: three means of absolute differences; the divergence of codes."""

import math

import pytest
import torch
from draws import draw

from kdnb.losses import generator_distillation, standard_normal_divergence


def drawn():
    codes, images, made = (4, 3), (4, 1, 2, 2), (4, 1, 2, 2)
    return [
        draw(*shape, seed=n) for n, shape in enumerate((codes, codes, images, images, made, made))
    ]


def test_against_loops():
    given, total = drawn(), 0.0
    for ours, theirs in zip(given[::2], given[1::2], strict=True):
        gaps = [
            abs(a - b)
            for a, b in zip(ours.flatten().tolist(), theirs.flatten().tolist(), strict=True)
        ]
        total += sum(gaps) / len(gaps)
    assert generator_distillation(*given).item() == pytest.approx(total, rel=1e-12)


def test_each_part_counts_alone_and_the_same_weighs_nothing():
    given = drawn()
    same = [given[0], given[0], given[2], given[2], given[4], given[4]]
    assert generator_distillation(*same) == 0
    parts = [
        generator_distillation(*same[:i], *given[i : i + 2], *same[i + 2 :]) for i in (0, 2, 4)
    ]
    torch.testing.assert_close(sum(parts), generator_distillation(*given))
    assert min(parts) > 0


def test_it_is_a_distance():
    given = drawn()
    swapped = [given[i] for i in (1, 0, 3, 2, 5, 4)]
    torch.testing.assert_close(generator_distillation(*swapped), generator_distillation(*given))
    doubled = [2 * one for one in given]
    torch.testing.assert_close(generator_distillation(*doubled), 2 * generator_distillation(*given))


def test_the_divergence_of_codes_against_torchs_distributions():
    mean, logs = draw(5, 3), draw(5, 3, seed=1)
    ours = torch.distributions.Normal(mean, (logs / 2).exp())
    standard = torch.distributions.Normal(torch.zeros(3).double(), torch.ones(3).double())
    expected = torch.distributions.kl_divergence(ours, standard).sum(1).mean()
    torch.testing.assert_close(standard_normal_divergence(mean, logs), expected)
    assert standard_normal_divergence(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def test_the_divergence_against_loops_and_near_its_least_value():
    mean, logs, total = draw(4, 2), draw(4, 2, seed=3), 0.0
    for m, s in zip(mean.flatten().tolist(), logs.flatten().tolist(), strict=True):
        total += (m * m + math.exp(s) - 1 - s) / 2
    assert standard_normal_divergence(mean, logs).item() == pytest.approx(total / 4, rel=1e-12)
    small = torch.full((1, 1000), 1e-6)
    assert standard_normal_divergence(torch.zeros(1, 1000), small) >= 0


def test_wrong_shapes():
    given = drawn()
    with pytest.raises(ValueError, match="decoded and old_decoded must have one shape"):
        generator_distillation(given[0], given[1], given[2], given[3][..., :1], *given[4:])
    with pytest.raises(ValueError, match="same number of samples"):
        generator_distillation(given[0][:2], *given[1:])
    with pytest.raises(ValueError, match="mean and log_variance must have one shape"):
        standard_normal_divergence(torch.zeros(2, 3), torch.zeros(2, 4))
