"""DDGSD shows two views of the same images."""

import pytest
import torch
from other_views import QUICK, batches, small

from kdnb.methods import self_distillation as own


def test_ddgsd_shows_two_views_of_the_same_images():
    shown = []
    network = small()
    network.register_forward_pre_hook(lambda _, x: shown.append(x[0].clone()))
    history = own.distorted_views(network, batches(flip=True), QUICK)
    assert {"hard", "soft", "discrepancy"} <= set(history[0])
    flipped = 0
    for images in shown:
        for one, other in zip(*images.chunk(2), strict=True):
            same, mirrored = torch.equal(one, other), torch.equal(one, other.flip(-1))
            assert same or mirrored
            flipped += mirrored and not same
    assert 20 < flipped < 60  # of 80, half are expected
    with pytest.raises(ValueError, match="two views need an augmentation"):
        own.distorted_views(small(), batches(), QUICK)
