"""Batches: what is in them, in which order, and that it depends on the seed and epoch alone."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from kdnb.data import Batches, Images, LoaderBatches, as_batches

MEAN, SD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def images(count=23, channels=3, height=7, width=5):
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, height, width)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.randint(0, 4, (count,), generator=generator))


def batches(data=None, size=5, **options):
    return Batches(images() if data is None else data, size, mean=MEAN, sd=SD, **options)


def epoch(source, number=0):
    """All batches of an epoch in one: images, labels, index."""
    parts = zip(*(batch[:3] for batch in source.epoch(number)), strict=True)
    return tuple(torch.cat(part) for part in parts)


def normalised(pixels):
    mean, sd = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(SD).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / sd


def seen(batch_images):
    """Pixels on the 0-255 scale, out of normalised images."""
    mean, sd = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(SD).view(3, 1, 1)
    return (batch_images * sd + mean) * 255


def test_one_epoch_holds_every_image_once_with_its_label_and_index():
    data = images()
    found, labels, index = epoch(batches(data))
    assert sorted(index.tolist()) == list(range(23)) and index.tolist() != list(range(23))
    assert torch.equal(labels, data.labels[index])
    torch.testing.assert_close(found, normalised(data.images[index]), rtol=0, atol=2e-6)
    assert found.dtype == torch.float32 and labels.dtype == index.dtype == torch.int64


def test_normalisation_by_hand():
    data = Images(torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1), torch.tensor([2]))
    (batch,) = batches(data, shuffle=False)
    by_hand = [(0 - 0.4) / 0.2, (0.2 - 0.5) / 0.25, (1 - 0.6) / 0.3]
    torch.testing.assert_close(batch.images.flatten(), torch.tensor(by_hand))


def test_unshuffled_batches_keep_the_order():
    assert epoch(batches(shuffle=False), 3)[2].tolist() == list(range(23))


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [5, 5, 5, 5, 3]), (True, [5, 5, 5, 5])])
def test_length_and_the_last_batch(drop_last, sizes):
    source = batches(drop_last=drop_last)
    assert [len(batch.labels) for batch in source] == sizes
    assert len(source) == len(sizes) and source.examples == 23


def test_an_epoch_is_a_function_of_seed_and_number():
    options = {"crop_padding": 2, "flip": True, "jitter": 0.3}
    first, again = batches(seed=4, **options), batches(seed=4, **options)
    other = batches(seed=5, **options)
    list(first.epoch(0))  # what was asked before does not matter
    torch.manual_seed(99)  # nor does the global random state
    state = torch.get_rng_state()
    here = epoch(first, 7)
    assert torch.equal(torch.get_rng_state(), state)
    for part, same in zip(here, epoch(again, 7), strict=True):
        assert torch.equal(part, same)
    assert not torch.equal(here[2], epoch(first, 8)[2])
    assert not torch.equal(here[2], epoch(other, 7)[2])


def test_iterating_is_epoch_zero():
    source = batches(flip=True)
    for batch, same in zip(source, source.epoch(0), strict=True):
        assert torch.equal(batch.images, same.images)


def test_augmentations_do_not_move_the_order_or_each_other():
    plain, flipped = batches(), batches(flip=True)
    both = batches(flip=True, crop_padding=1)
    assert torch.equal(epoch(plain)[2], epoch(both)[2])
    for one, other in zip(plain.epoch(0), flipped.epoch(0), strict=True):
        for a, b in zip(one.images, other.images, strict=True):
            assert torch.equal(a, b) or torch.equal(a.flip(-1), b)
    assert torch.equal(flipped._changes(2)["flip"], both._changes(2)["flip"])


def looked(picture, crop, flip, jitter, padding):
    """One image (C, H, W) cropped, mirrored and jittered pixel by pixel, in plain Python."""
    channels, height, width = picture.shape
    pixels = picture.tolist()
    result = [[[0.0] * width for _ in range(height)] for _ in range(channels)]
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                column = width - 1 - x if flip else x
                row, column = y + crop[0] - padding, column + crop[1] - padding
                if 0 <= row < height and 0 <= column < width:
                    result[c][y][x] = float(pixels[c][row][column])
    values = [v for plane in result for line in plane for v in line]
    values = [min(max(v * jitter[0], 0.0), 255.0) for v in values]
    mean = sum(values) / len(values)
    values = [min(max((v - mean) * jitter[1] + mean, 0.0), 255.0) for v in values]
    return torch.tensor(values).view(channels, height, width)


@pytest.mark.parametrize(("padding", "flip", "jitter"), [(2, False, 0), (0, True, 0), (0, False, 0.5),
                                                         (3, True, 0.25)])  # fmt: skip
@pytest.mark.parametrize("channels_last", [False, True])
def test_augmentation_equals_a_loop_over_pixels(padding, flip, jitter, channels_last):
    data = images()
    source = batches(data, crop_padding=padding, flip=flip, jitter=jitter,
                     channels_last=channels_last)  # fmt: skip
    assert source.augmented
    found, _, index = epoch(source, 1)
    changes = source._changes(1)
    for place, position in enumerate(index.tolist()):
        expected = looked(
            data.images[position],
            changes["crop"][place].tolist() if padding else (0, 0),
            bool(changes["flip"][place]) if flip else False,
            changes["jitter"][place].tolist() if jitter else (1.0, 1.0),
            padding,
        )
        torch.testing.assert_close(seen(found[place]), expected, rtol=0, atol=1e-3)


def test_draws_cover_their_ranges_evenly():
    source = batches(images(6000, 3, 2, 2), 1000, crop_padding=2, flip=True, jitter=0.2)
    changes = source._changes(0)
    for axis in range(2):
        counts = torch.bincount(changes["crop"][:, axis], minlength=5)
        assert len(counts) == 5 and (counts - 1200).abs().max() < 150
    assert abs(changes["flip"].float().mean() - 0.5) < 0.03
    factors = changes["jitter"]
    low, high = factors.min().item(), factors.max().item()
    assert low == pytest.approx(0.8, abs=0.01) and high == pytest.approx(1.2, abs=0.01)
    assert torch.corrcoef(factors.T)[0, 1].abs() < 0.05


def test_channels_last_is_the_same_in_another_layout():
    plain, last = batches(crop_padding=1), batches(crop_padding=1, channels_last=True)
    for one, other in zip(plain, last, strict=True):
        assert torch.equal(one.images, other.images)
        assert other.images.is_contiguous(memory_format=torch.channels_last)
        assert one.images.is_contiguous()


def test_batches_leave_the_images_as_they_were():
    data = images()
    before = data.images.clone()
    epoch(batches(data, crop_padding=2, flip=True, jitter=0.5))
    assert torch.equal(data.images, before)


def test_plain_batches_are_not_augmented():
    assert not batches().augmented


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_sees_the_same():
    options = {"crop_padding": 2, "flip": True, "jitter": 0.3, "seed": 3}
    here, there = batches(**options), batches(**options, device="cuda")
    assert there.device.type == "cuda"
    for one, other in zip(here.epoch(5), there.epoch(5), strict=True):
        assert other.images.is_cuda and other.labels.is_cuda and other.index.is_cuda
        assert torch.equal(one.index, other.index.cpu())
        torch.testing.assert_close(one.images, other.images.cpu(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "batch_size"),
        ({"crop_padding": -1}, "crop_padding"),
        ({"jitter": 1.5}, "jitter"),
        ({"data": images(3, channels=1)}, "1 channels"),
        ({"data": images(3), "size": 4, "drop_last": True}, "no full batch of 4"),
        ({"data": images(3).select(slice(0, 0))}, "no images"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**options)


def test_images_check_their_shapes():
    good = images()
    with pytest.raises(ValueError, match="uint8 tensor"):
        Images(good.images.float(), good.labels)
    with pytest.raises(ValueError, match=r"int64 tensor \(23,\)"):
        Images(good.images, good.labels[:5])


def test_select_by_mask_by_positions_and_by_slice():
    data = images()
    mask = data.labels == 2
    assert len(data.select(mask)) == int(mask.sum()) and (data.select(mask).labels == 2).all()
    assert torch.equal(data.select([4, 1]).images, data.images[[4, 1]])
    assert torch.equal(data.select(slice(3)).labels, data.labels[:3])
    with pytest.raises(ValueError, match="mask needs 23 entries"):
        data.select(mask[:4])


class Own(Dataset):
    """A user's data set: the image says which one it is."""

    def __len__(self):
        return 11

    def __getitem__(self, position):
        return torch.full((1, 2, 2), float(position)), position % 3


def order(source, number):
    return [int(value) for batch in source.epoch(number) for value in batch.images[:, 0, 0, 0]]


def test_a_users_dataset():
    source = as_batches(Own(), 4, seed=1)
    assert (len(source), source.examples, source.augmented) == (3, 11, True)
    batch = next(source.epoch(0))
    assert batch.index is None and batch.images.shape == (4, 1, 2, 2)
    assert torch.equal(batch.labels, batch.images[:, 0, 0, 0].long() % 3)
    assert sorted(order(source, 0)) == list(range(11))
    assert order(source, 0) == order(as_batches(Own(), 4, seed=1), 0) != order(source, 1)
    assert order(source, 0) != order(as_batches(Own(), 4, seed=2), 0)


def test_a_users_loader_keeps_its_own_order():
    loader = DataLoader(Own(), 4, shuffle=False, drop_last=True)
    source = as_batches(loader, 999)
    assert order(source, 0) == order(source, 1) == list(range(8)) and len(source) == 2


def test_a_list_of_batches():
    source = as_batches([(torch.zeros(3, 1, 2, 2, dtype=torch.float64), [0, 1, 2])], 3)
    (batch,) = source
    assert batch.images.dtype == torch.float32 and batch.labels.tolist() == [0, 1, 2]


def test_batches_pass_as_they_are():
    source = batches()
    assert as_batches(source, 99) is source
    loader = LoaderBatches(DataLoader(Own(), 4))
    assert as_batches(loader, 99) is loader


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(1, 2, 2), 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (images(), "not normalised"),
        (iter([]), "read again in every epoch"),
        (3, "read again in every epoch"),
        (Endless(), "has no length"),
    ],
)
def test_what_cannot_be_batches_is_refused(data, message):
    with pytest.raises(TypeError, match=message):
        as_batches(data, 4)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (torch.zeros(2), "pair"),
        ((torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2)), "floating-point"),
        ((torch.zeros(2, 1, 2, 2), torch.zeros(2)), "numbers of classes"),
    ],
)
def test_what_a_loader_must_give(item, message):
    with pytest.raises(TypeError, match=message):
        list(as_batches([item], 4))


def test_a_seeded_generator_of_the_user_gives_every_epoch_its_own_order():
    pairs = TensorDataset(torch.arange(20.0).view(20, 1, 1, 1), torch.zeros(20, dtype=torch.int64))
    loader = DataLoader(pairs, 5, shuffle=True, generator=torch.Generator())
    source = LoaderBatches(loader, seed=3)
    assert order(source, 2) == order(source, 2) != order(source, 3)
