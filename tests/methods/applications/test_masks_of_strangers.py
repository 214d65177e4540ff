"""Masks as strangers keep them: bytes, and pixels that do not count."""

import pytest
import torch

from kdnb.methods.applications.segmentation import intersection_over_union


def test_pixels_that_do_not_count_are_left_out():
    masks = torch.tensor([[[0, 0], [1, 255]]])
    predicted = torch.tensor([[[0, 1], [1, 0]]])
    found = intersection_over_union(predicted, masks.byte(), 2, ignore_index=255)
    assert torch.equal(found, torch.tensor([0.5, 0.5]))


def test_labels_of_no_class_are_refused():
    masks = torch.tensor([[[0, 0], [1, 255]]])
    with pytest.raises(ValueError, match="labels must lie in 0 to 1 .* by ignore_index"):
        intersection_over_union(masks % 2, masks, 2)
