"""The Fréchet distance of images, by closed forms."""

import numpy as np
import pytest
import torch
from draws import draw
from scipy.linalg import sqrtm
from torch import nn

from kdnb.methods.adversarial import (
    classifier_frechet,
    embedded,
    feature_frechet,
    frechet_distance,
)


def covariance(seed, rank=5):
    root = draw(5, rank, seed=seed)
    return root @ root.T


def test_diagonal_covariances():
    a, b = draw(6).square(), draw(6, seed=1).square()
    mean, mean2 = draw(6, seed=2), draw(6, seed=3)
    expected = sum((mean - mean2).square()) + sum((a.sqrt() - b.sqrt()).square())
    found = frechet_distance(mean, a.diag(), mean2, b.diag())
    assert found == pytest.approx(float(expected), rel=1e-10)


def test_full_covariances_against_the_plain_root():
    a, b, zero = covariance(0), covariance(1), torch.zeros(5)
    root = torch.as_tensor(sqrtm((a @ b).numpy()).real)
    expected = float((a + b - 2 * root).trace())
    assert frechet_distance(zero, a, zero, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(zero, b, zero, a) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(zero, a, zero, a) == pytest.approx(0, abs=1e-6)


def test_singular_covariances():
    """Of rank 1 the closed form is |a|^2 + |b|^2 - 2 |a . b|; where orthogonal, nothing is shared."""
    a, b, zero = draw(5), draw(5, seed=1), torch.zeros(5)
    expected = float(a @ a + b @ b - 2 * (a @ b).abs())
    found = frechet_distance(zero, torch.outer(a, a), zero, torch.outer(b, b))
    assert found == pytest.approx(expected, rel=1e-5)
    nothing = torch.zeros(5, 5)
    assert frechet_distance(zero, covariance(0, 2), zero, nothing) == pytest.approx(
        float(covariance(0, 2).trace())
    )


def test_wrong_moments_are_refused():
    zero, one = torch.zeros(3), torch.eye(3)
    with pytest.raises(ValueError, match=r"mean2 must have shape \(3,\); got \(2,\)"):
        frechet_distance(zero, one, zero[:2], one)
    with pytest.raises(ValueError, match=r"covariance2 must have shape \(3, 3\)"):
        frechet_distance(zero, one, zero, one[:2])
    with pytest.raises(ValueError, match="covariance must be symmetric"):
        frechet_distance(zero, one.roll(1, 0), zero, one)


def test_distance_of_images():
    torch.manual_seed(0)
    classifier = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
    )
    images = draw(600, 1, 8, 8).float()
    rows = embedded(classifier, images, "1")
    assert classifier.training
    expected = classifier[:2](images).mean((2, 3)).detach()
    torch.testing.assert_close(rows, expected.double(), rtol=1e-4, atol=1e-5)
    # Logits are Gaussian moments too: by numpy's formulas.
    logits = embedded(classifier, images, "4").numpy()
    other = embedded(classifier, images + 0.5, "4").numpy()
    a, b = np.cov(logits.T), np.cov(other.T)
    by_hand = ((logits.mean(0) - other.mean(0)) ** 2).sum()
    by_hand += np.trace(a + b - 2 * sqrtm(a @ b).real)
    found = classifier_frechet(classifier, images, images + 0.5, path="4")
    assert found == pytest.approx(float(by_hand), rel=1e-4)
    distances = [
        classifier_frechet(classifier, images, images + shift, path="1") for shift in (0, 0.2, 0.8)
    ]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances[0] < distances[1] < distances[2]
    with pytest.raises(ValueError, match="2 rows at least; got 1"):
        classifier_frechet(classifier, images[:1], images, path="1")


def test_distance_of_features():
    rows, rows2 = draw(40, 5), 2 * draw(40, 5, seed=1) + 1
    moments = (rows.mean(0), torch.cov(rows.T), rows2.mean(0), torch.cov(rows2.T))
    found = feature_frechet(rows, rows2)
    assert found == pytest.approx(frechet_distance(*moments), rel=1e-10)
    # Of the sets alone: the order of the rows does not matter.
    assert feature_frechet(rows.flip(0), rows2) == pytest.approx(found, rel=1e-10)
    assert feature_frechet(rows.flip(0), rows) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match=r"equally many numbers; got \(40, 5\) and \(40, 4\)"):
        feature_frechet(rows, rows2[:, :4])
    with pytest.raises(ValueError, match="2 rows at least; got 1"):
        feature_frechet(rows[:1], rows2)
