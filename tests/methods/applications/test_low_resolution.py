"""Low resolution: what a camera of few pixels loses, and who sees which image."""

import pytest
import torch
from torch import nn

import kdnb
from kdnb.methods.applications.low_resolution import LowResolution, reduced


def test_images_keep_their_size_and_their_mean_and_lose_detail():
    images = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    for side in (1, 2, 4):
        small = reduced(images, side)
        assert small.shape == images.shape and small.var() < images.var()
    torch.testing.assert_close(reduced(images, 8), images)
    torch.testing.assert_close(
        reduced(images, 1), images.mean((2, 3), keepdim=True).expand_as(images)
    )


def test_pixels_of_one_area_cannot_be_told_apart():
    one, other = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    one[..., 0, 0], other[..., 1, 1] = 1, 1
    assert torch.equal(reduced(one, 2), reduced(other, 2))


def test_the_student_alone_sees_few_pixels():
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(16, 3)
            self.images = []

        def forward(self, images):
            self.images.append(images)
            return self.layer(images.flatten(1))

    teacher, student = Seen(), Seen()
    images = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 3
    kdnb.distil(LowResolution(student, 2), teacher, (images, labels), epochs=1, batch_size=8)
    small = torch.cat(student.images)
    torch.testing.assert_close(small, reduced(small, 2), atol=0.3, rtol=0)
    assert all(any(torch.equal(seen, image) for image in images) for seen in teacher.images[-1])
    assert not any(torch.equal(seen, image) for seen in small for image in images)


def test_wrong_sides():
    with pytest.raises(ValueError, match="side must"):
        reduced(torch.ones(1, 1, 4, 4), 5)
    with pytest.raises(ValueError, match="side must be at least 1"):
        LowResolution(nn.Identity(), 0)
