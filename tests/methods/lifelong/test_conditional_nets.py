"""Networks of labels and images: shapes, bounds, and that the label is heard."""

import pytest
import torch

from kdnb.methods.lifelong import CodeEncoder, LabelCritic, LabelGenerator


def test_shapes_and_bounds():
    torch.manual_seed(0)
    make = LabelGenerator(3, latent=4, channels=2, image_size=8, hidden=16, bounds=(-0.5, 2.0))
    labels, codes = torch.tensor([0, 2]), 100 * torch.randn(2, 4)
    images = make(labels, codes)
    assert images.shape == (2, 2, 8, 8) and -0.5 <= images.min() and images.max() <= 2
    mean, logs = CodeEncoder(latent=4, channels=2, image_size=8, hidden=16)(images)
    assert mean.shape == logs.shape == (2, 4)
    assert LabelCritic(3, channels=2, image_size=8, hidden=16)(images, labels).shape == (2,)


def test_the_label_is_heard():
    torch.manual_seed(0)
    make, judge = LabelGenerator(3, latent=4, image_size=8), LabelCritic(3, image_size=8)
    codes, images = torch.randn(1, 4), torch.randn(1, 1, 8, 8)
    assert not make(torch.tensor([0]), codes).equal(make(torch.tensor([1]), codes))
    assert judge(images, torch.tensor([0])) != judge(images, torch.tensor([1]))


def test_wrong_sizes():
    for wrong in ({"classes": 0}, {"classes": 3, "latent": 0}, {"classes": 3, "hidden": -1}):
        with pytest.raises(ValueError, match="must be"):
            LabelGenerator(**wrong)
    with pytest.raises(ValueError, match=r"bounds must rise; got \(1, 0\)"):
        LabelGenerator(3, bounds=(1, 0))
