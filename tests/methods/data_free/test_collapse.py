"""Class balance, diversity, and the detector of a collapse."""

import logging
import math

import pytest
import torch

from kdnb.methods.data_free import (
    CollapseDetector,
    class_balance,
    diversity,
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_class_balance_is_relative_entropy():
    shares = [0.5, 0.25, 0.25]
    expected = -sum(p * math.log(p) for p in shares) / math.log(3)
    assert class_balance(torch.tensor([2, 1, 1])) == pytest.approx(expected)
    with pytest.raises(ValueError, match="histogram of 2 classes or more"):
        class_balance(torch.tensor([0, 0]))


def test_diversity_of_copies_is_nothing_and_of_noise_is_all():
    pattern = noise(1, 1, 8, 8)
    assert diversity(pattern.expand(6, -1, -1, -1)).item() == pytest.approx(0, abs=1e-6)
    assert diversity(noise(400, 1, 8, 8)).item() > 0.99
    half = pattern + noise(400, 1, 8, 8, seed=1)
    assert 0.3 < diversity(half).item() < 0.7


def test_the_detector_warns_of_a_collapse_and_is_silent_else(caplog):
    healthy, images = 10 * torch.eye(4).repeat(4, 1), noise(16, 1, 8, 8)
    detector = CollapseDetector(4)
    with caplog.at_level(logging.WARNING):
        detector.see(images, healthy)
        found = detector.report()
    assert not detector.warnings
    assert not caplog.records
    assert found["class_balance"] == 1
    one = torch.zeros(16, 4)
    one[:, 2] = 10
    cases = {
        "class_balance": (images, one),
        "diversity": (images[:1].expand(16, -1, -1, -1), healthy),
        "confidence": (images, healthy / 100),
    }
    for name, case in cases.items():
        with caplog.at_level(logging.WARNING):
            detector.see(*case)
            detector.report()
        assert name in detector.warnings[-1]
        assert detector.warnings[-1] in caplog.text
    assert "classes never made: 0, 1, 3" in detector.warnings[0]
    with pytest.raises(ValueError, match="no batch was seen"):
        detector.report()
