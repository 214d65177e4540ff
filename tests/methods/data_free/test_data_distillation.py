"""Ensembles over views, and the labels they give."""

import data_free_workshop as workshop
import pytest
import torch
from labelled_pictures import ADAM, batches, pictures

from kdnb.methods.data_free import (
    ensembled,
    omni_supervised,
    self_labelled,
    shifts,
)


def test_views_shift_by_whole_pixels():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    same, up, down, left, right = (view(image) for view in shifts(1))
    assert torch.equal(same, image)
    assert torch.equal(up[..., :2, :], image[..., 1:, :])
    assert torch.equal(down[..., 1:, :], image[..., :2, :])
    assert torch.equal(left[..., :2], image[..., 1:])
    assert torch.equal(right[..., 1:], image[..., :2])
    assert torch.equal(up[..., 2, :], image[..., 2, :])
    with pytest.raises(ValueError, match="1 pixel or more"):
        shifts(0)


def test_the_ensemble_is_the_mean_probability_over_views():
    network, images = workshop.small_net(0, norm=True), torch.randn(4, 1, 8, 8)
    views = [lambda x: x, lambda x: x.flip(-1)]
    found = ensembled(network, images, views)
    assert network.training
    network.eval()
    with torch.no_grad():
        expected = (network(images).softmax(1) + network(images.flip(-1)).softmax(1)) / 2
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="at least one view"):
        ensembled(network, images, [])


def test_unlabelled_images_get_the_ensembles_labels():
    network, views = workshop.small_net(0).eval(), shifts(1)
    plain = batches(shuffle=False)
    made = self_labelled(network, plain, views)
    whole = next(iter(batches(24, shuffle=False))).images
    answers = ensembled(network, whole, views)
    assert torch.equal(made.labels, answers.argmax(1))
    highest = answers.amax(1).sort().values
    threshold = float(highest[11] + highest[12]) / 2  # between two images, whatever the rounding
    sure = self_labelled(network, plain, views, confidence=threshold)
    assert len(sure) == 12
    with pytest.raises(ValueError, match="shuffle=False"):
        self_labelled(network, batches(), views)
    seen = workshop.Recorder(workshop.small_net(3))
    recipe = ADAM.model_copy(update={"epochs": 1})
    omni_supervised(seen, pictures(9), sure, recipe, mean=(0.5,), sd=(0.3,))
    tried = 8  # the first batch, before any training
    assert sum(len(images) for images in seen.seen) == tried + 9 + len(sure)
