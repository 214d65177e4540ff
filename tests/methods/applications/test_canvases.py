"""Composed pictures: what lies where, that masks and boxes say it, and that seeds draw others."""

import pytest
import torch

from kdnb.data import Images
from kdnb.methods.applications.canvases import compose


def objects(count=12):
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 6:22, 10:18] = 255  # 8 x 4 pixels when shrunk by 2
    return Images(images, torch.arange(count) % 10)


def photographs(count=6):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 120, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.zeros(count, dtype=torch.int64))


def test_one_object_has_its_pixels_its_mask_and_its_box():
    found = compose(objects(), photographs(), 20, at_most=1, seed=1)
    assert len(found) == 20 and found.images.shape == (20, 3, 32, 32)
    for image, mask, box, label in zip(
        found.images, found.masks, found.boxes, found.labels, strict=True
    ):
        inside = mask > 0
        assert inside.sum() == 32 and (mask[inside] == label + 1).all()
        assert image[:, inside].eq(1).all() and image[:, ~inside].max() < 0
        left, top, right, bottom = (32 * box).round().int().tolist()
        assert (right - left, bottom - top) == (4, 8)
        assert inside[top:bottom, left:right].all()


def test_several_objects_cover_one_another_and_the_last_is_whole():
    found = compose(objects(), photographs(), 60, at_most=3, seed=2)
    classes = [mask[mask > 0].unique().numel() for mask in found.masks]
    assert set(classes) >= {1, 2, 3}
    for mask, box, label in zip(found.masks, found.boxes, found.labels, strict=True):
        left, top, right, bottom = (32 * box).round().int().tolist()
        assert (mask[top:bottom, left:right] == label + 1).all()


def test_dark_pixels_belong_to_the_background():
    images = torch.full((3, 1, 28, 28), 40, dtype=torch.uint8)  # 0.16, under the threshold
    found = compose(Images(images, torch.arange(3)), photographs(), 3, at_most=1)
    assert (
        found.masks.eq(0).all() and found.boxes[:, 2:].sub(found.boxes[:, :2]).mul(32).eq(14).all()
    )


def test_draws_follow_the_seed_and_leave_the_sources_alone():
    things, places = objects(), photographs()
    kept = places.images.clone()
    one, same, other = (compose(things, places, 9, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.images, same.images) and torch.equal(one.masks, same.masks)
    assert not torch.equal(one.masks, other.masks) and torch.equal(places.images, kept)


def test_photographs_may_be_darker_and_objects_are_not():
    full, dark = (compose(objects(), photographs(), 5, at_most=1, brightness=b) for b in (1.0, 0.5))
    inside = (full.masks > 0)[:, None].expand_as(full.images)
    assert torch.equal(full.images[inside], dark.images[inside])
    torch.testing.assert_close((dark.images[~inside] + 1) * 2, full.images[~inside] + 1)


def test_wrong_sources():
    with pytest.raises(ValueError, match="objects must be grey and fit"):
        compose(photographs(), photographs(), 2)
    with pytest.raises(ValueError, match="objects must be grey and fit"):
        compose(objects(), objects(), 2)
    with pytest.raises(ValueError, match="at_most must be at least 1"):
        compose(objects(), photographs(), 2, at_most=0)
