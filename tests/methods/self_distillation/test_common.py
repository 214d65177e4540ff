"""Pairs of images of one class: partners, flips, what is refused."""

import pytest
import torch
from other_views import batches, pictures

from kdnb.data import LoaderBatches
from kdnb.methods import self_distillation as own


def test_paired_batches_hold_images_and_their_partners():
    plain = batches(seed=3)
    paired = own.PairedBatches(plain, lambda epoch: (torch.arange(40) + epoch + 1) % 40)
    assert len(paired) == len(plain) == 5
    for epoch in (0, 1):
        for one, two in zip(plain.epoch(epoch), paired.epoch(epoch), strict=True):
            images, others = two.images.chunk(2)
            assert torch.equal(images, one.images)
            first, second = two.index.chunk(2)
            assert torch.equal(first, one.index)
            assert torch.equal(second, (first + epoch + 1) % 40)
            assert torch.equal((others[:, 0, 0, 0] * 255).round().long(), second)
            assert torch.equal(two.labels.chunk(2)[1], second % 3)


def test_partners_are_augmented_on_their_own_and_reproducibly():
    paired = own.PairedBatches(batches(flip=True, crop_padding=1), lambda _: torch.arange(40))
    first, again = next(paired.epoch(0)), next(paired.epoch(0))
    assert torch.equal(first.images, again.images)
    images, others = first.images.chunk(2)
    differ = [not torch.equal(a, b) for a, b in zip(images, others, strict=True)]
    assert sum(differ) > len(differ) // 2
    assert not torch.equal(next(paired.epoch(1)).images, first.images)


def test_flips_of_partners_are_drawn_anew_in_every_step_and_epoch():
    paired = own.PairedBatches(batches(flip=True), lambda _: torch.arange(40))
    source = pictures().images.float() / 255
    patterns = set()
    for epoch in (0, 1):
        for batch in paired.epoch(epoch):
            plain = source[batch.index]
            flipped = [not torch.allclose(a, b) for a, b in zip(batch.images, plain, strict=True)]
            patterns |= {tuple(flipped[:8]), tuple(flipped[8:])}
    assert len(patterns) >= 18  # of 20 patterns of 8 coins; one seed for all gives 11


def test_pairs_need_images_in_memory():
    loader = LoaderBatches([(torch.zeros(2, 1, 6, 6), torch.tensor([0, 1]))])
    with pytest.raises(TypeError, match="give Batches, not a LoaderBatches"):
        own.PairedBatches(loader, lambda _: torch.arange(2))
