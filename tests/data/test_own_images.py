"""Images of one's own: folders and arrays become images for every verb; what is wrong is one sentence."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import kdnb
from kdnb import data
from kdnb.data.cards import DataError
from kdnb.names import UsageError


def picture(path, level, size=(6, 5), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(level)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    array = np.clip(level + rng.integers(0, 9, shape), 0, 255).astype(np.uint8)
    Image.fromarray(array, mode=None).save(path)
    return array


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten grey images each."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(10):
            picture(tmp_path / "own" / name / f"{number}.png", 100 * label + number)
    (tmp_path / "own" / ".hidden").mkdir()
    (tmp_path / "own" / "notes").mkdir()
    (tmp_path / "own" / "notes" / "read.txt").write_text("no image")
    return tmp_path / "own"


def test_a_folder_of_folders(folder):
    own = data.own_images(folder)
    assert own.classes == ("cat", "dog") and own.shape == (1, 5, 6)
    assert (len(own.train), len(own.held_out)) == (16, 4)
    assert own.train.labels.bincount().tolist() == [8, 8]
    assert own.held_out.labels.bincount().tolist() == [2, 2]
    labels = own.train.labels.tolist()
    assert labels not in (sorted(labels), sorted(labels)[::-1])  # any first n are a random sample
    together = torch.cat([own.train.images, own.held_out.images]).flatten(1)
    assert len(torch.unique(together, dim=0)) == 20  # every image once, none twice
    assert repr(own).startswith("OwnImages: 16 training and 4 held-out images of 1 x 5 x 6 in 2")


def test_its_pixels_are_those_of_the_files(folder, tmp_path):
    kept = picture(tmp_path / "rgb" / "a" / "0.png", 50, mode="RGB")
    picture(tmp_path / "rgb" / "a" / "1.png", 60, mode="RGB")
    picture(tmp_path / "rgb" / "b" / "0.png", 70, mode="RGB")
    picture(tmp_path / "rgb" / "b" / "1.png", 80, mode="RGB")
    own = data.own_images(tmp_path / "rgb", held_out=0.5)
    both = torch.cat([own.train.images, own.held_out.images])
    assert own.shape == (3, 5, 6)
    assert any(torch.equal(one, torch.from_numpy(kept).permute(2, 0, 1)) for one in both)
    grey = data.own_images(tmp_path / "rgb", channels=1)
    assert grey.shape == (1, 5, 6)


def test_the_split_follows_the_seed(folder):
    one, same, other = (data.own_images(folder, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.held_out.images, same.held_out.images)
    assert not torch.equal(one.held_out.images, other.held_out.images)


def test_normalisation_is_of_the_training_images_alone(folder):
    own = data.own_images(folder)
    pixels = own.train.images.double() / 255
    assert own.train.card.mean == pytest.approx((float(pixels.mean()),))
    assert own.train.card.sd == pytest.approx((float(pixels.std(correction=0)),))
    assert own.held_out.card == own.train.card
    inputs, _ = own.train.tensors()
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(inputs.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_the_verbs_take_them(folder):
    own = data.own_images(folder)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(30, 2))
    fit = kdnb.train(net, own.train, evaluate=own.held_out, epochs=30, batch_size=8, lr=0.1)
    assert fit.history.accuracy.iloc[-1] == 1  # dark cats, bright dogs
    kdnb.train(net, own.train, epochs=1, batch_size=8, lr=0.1, crop_padding=1, flip=True)


def test_a_folder_that_is_split_already(folder, tmp_path):
    folder.rename(tmp_path / "train")
    for name in ("cat", "dog"):
        picture(tmp_path / "val" / name / "0.png", 7)
    own = data.own_images(tmp_path)
    assert (len(own.train), len(own.held_out)) == (20, 2) and own.classes == ("cat", "dog")
    picture(tmp_path / "val" / "cow" / "0.png", 7)
    with pytest.raises(DataError, match="has the class 'cow', which .*train has not"):
        data.own_images(tmp_path)


def test_files_of_other_sizes_and_turned_ones(folder):
    picture(folder / "cat" / "wide.png", 3, size=(9, 5))
    with pytest.raises(
        DataError, match=r"wide.png has 5 x 9 pixels, others 5 x 6: name the image_s"
    ):
        data.own_images(folder)
    assert data.own_images(folder, image_size=8).shape == (1, 8, 8)
    turned = Image.fromarray(np.zeros((6, 5), np.uint8))
    about = turned.getexif()
    about[0x0112] = 6  # lies on its side
    turned.save(folder / "cat" / "wide.png", exif=about)
    assert data.own_images(folder).shape == (1, 5, 6)


def test_arrays_in_every_layout(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (12, 4, 4)).astype(np.uint8)
    labels = np.arange(12) % 3
    for images in (grey, grey[..., None], grey[:, None], torch.from_numpy(grey)):
        own = data.own_images((images, labels), held_out=0.25)
        assert own.shape == (1, 4, 4) and own.classes == ("0", "1", "2")
        assert (len(own.train), len(own.held_out)) == (9, 3)
    np.savez(tmp_path / "own.npz", images=grey, labels=labels, classes=["a", "b", "c"])
    assert data.own_images(tmp_path / "own.npz").classes == ("a", "b", "c")
    np.savez(
        tmp_path / "split.npz",
        images=grey,
        labels=labels,
        test_images=grey[:3],
        test_labels=labels[:3],
    )
    split = data.own_images(tmp_path / "split.npz")
    assert (len(split.train), len(split.held_out)) == (12, 3)
    order = (
        (split.train.images[:, 0, None] == torch.from_numpy(grey)).flatten(2).all(2).int().argmax(1)
    )
    assert order.sort().values.tolist() == list(range(12))
    assert torch.equal(split.train.labels, torch.from_numpy(labels)[order])


RAGGED = [np.zeros((4, 4 + n % 2), np.uint8) for n in range(6)]


def pair(**changes):
    given = {"images": np.zeros((6, 4, 4), np.uint8), "labels": np.arange(6) % 2} | changes
    return given["images"], given["labels"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (pair(images=np.zeros((6, 4, 4))), "are torch.float64, and must be uint8 from 0 to 255"),
        (pair(images=np.zeros((6, 4, 4, 5), np.uint8)), r"must be \(N, H, W\)|different"),
        (pair(images=np.zeros((6, 4), np.uint8)), r"must be \(N, H, W\)"),
        (pair(images=np.zeros((0, 4, 4), np.uint8), labels=[]), r"must be \(N, H, W\)"),
        (pair(labels=np.arange(5)), "must be 6 whole numbers from 0"),
        (pair(labels=np.arange(6) - 1), "must be 6 whole numbers from 0"),
        (pair(labels=np.arange(6) / 2), "must be 6 whole numbers from 0"),
        (pair(labels=np.zeros(6, int)), "one class only"),
        (pair(labels=np.array([0, 0, 0, 0, 0, 1])), "class '1' has one image: it needs two"),
        (
            pair(labels=np.array([0, 0, 0, 2, 2, 2])),
            "no image has the label 1: labels are numbered",
        ),
        (pair(labels=np.arange(6) % 2 + 1), "no image has the label 0: labels are numbered from 0"),
        (pair(labels=["a", "b"] * 3), "are words: number them from 0, and name the classes"),
        (pair(labels=[None] * 6), "must be arrays of numbers"),
        (pair(labels=[[0], [1, 0], 1, 0, 1, 0]), "labels of the images must be arrays of numbers"),
        (pair(labels=np.array([0, 1] * 3, object)), "labels of the images must be arrays of numb"),
        (pair(images=RAGGED), "the images must be arrays of numbers, all of one shape"),
        (
            pair(images=[one.tolist() for one in RAGGED]),
            "the images must be arrays of numbers, all",
        ),
        (
            pair(images=np.array([*RAGGED, None], object)[:6]),
            "the images must be arrays of numbers",
        ),
        (pair(images=np.zeros((6, 4, 4), np.uint16)), "are torch.uint16, and must be uint8"),
        (pair(images=np.zeros((6, 4, 4), np.float16)), "are torch.float16, and must be uint8"),
        (pair(images=np.zeros((6, 4, 4), bool)), "are torch.bool, and must be uint8"),
        (pair(images=np.zeros((6, 4, 4), complex)), "are torch.complex128, and must be uint8"),
        (pair(images=np.zeros((6, 4, 4), "datetime64[s]")), "must be arrays of numbers"),
        (pair(images=np.full((6, 4, 4), "7")), "the images must be arrays of numbers"),
        (pair(images=[], labels=[]), r"the images are empty: .* got \(0,\)"),
        (pair(images=np.zeros((6, 0, 4), np.uint8)), r"the images are empty: .* got \(6, 0, 4\)"),
        (pair(labels=[]), r"must be 6 whole numbers from 0; got torch.float64 \(0,\)"),
        (pair(labels=3), "must be 6 whole numbers from 0"),
        (7, "not a int"),
        ((1, 2, 3), "not a tuple"),
    ],
)
def test_arrays_that_are_none_are_one_sentence(source, words):
    if getattr(source[0] if isinstance(source, tuple) else 0, "shape", ()) == (6, 4, 4, 5):
        source = pair(images=np.zeros((6, 4, 4, 5), np.uint8)[:, :, :, :, None])
    with pytest.raises(DataError, match=words) as caught:
        data.own_images(source)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_folders_and_files_that_are_none_are_one_sentence(folder, tmp_path):
    with pytest.raises(DataError, match="is neither a folder nor an .npz file"):
        data.own_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="load a data set by its name .nearest: mnist"):
        data.own_images("minst")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no folder with images"):
        data.own_images(tmp_path / "empty")
    (tmp_path / "bad.npz").write_bytes(b"PK no")
    with pytest.raises(DataError, match="cannot be read as an .npz file"):
        data.own_images(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="has no array 'images'; it has x"):
        data.own_images(tmp_path / "other.npz")
    np.savez(tmp_path / "pickled.npz", images=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="cannot be read as an .npz file"):
        data.own_images(tmp_path / "pickled.npz")
    (folder / "cat" / "3.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError, match=r"3.png is no image that can be read"):
        data.own_images(folder)


def test_other_names_of_the_parts(folder, tmp_path):
    folder.rename(tmp_path / "Training")
    for name in ("cat", "dog"):
        picture(tmp_path / "Testing" / name / "deep" / "0.png", 7)
    own = data.own_images(tmp_path)
    assert (len(own.train), len(own.held_out)) == (20, 2) and own.classes == ("cat", "dog")


def test_transparent_images_and_what_systems_leave_in_folders(folder):
    (folder / "cat" / "._0.png").write_bytes(b"of a Mac")
    (folder / "cat" / "Thumbs.db").write_bytes(b"of Windows")
    assert data.own_images(folder).shape == (1, 5, 6)
    Image.fromarray(np.zeros((5, 6, 4), np.uint8)).save(folder / "dog" / "0.png")
    with pytest.raises(DataError, match=r"0.png is in colour, others are grey: name the channels"):
        data.own_images(folder)
    assert data.own_images(folder, channels=1).shape == (1, 5, 6)
    assert data.own_images(folder, channels=3).shape == (3, 5, 6)


def test_images_of_16_bits_are_not_clipped(folder):
    Image.fromarray(np.full((5, 6), 4096, np.uint16)).save(folder / "dog" / "0.png")
    with pytest.raises(DataError, match=r"0.png has more than 8 bits a pixel: scale its values"):
        data.own_images(folder)


def test_one_folder_is_no_task(tmp_path):
    picture(tmp_path / "cat" / "0.png", 1)
    picture(tmp_path / "cat" / "1.png", 2, size=(7, 7))
    with pytest.raises(DataError, match="one class only"):
        data.own_images(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"held_out": 0}, "held_out is a share between 0 and 1; got 0"),
        ({"held_out": 1.0}, "held_out is a share"),
        ({"channels": 2}, "channels is 1 or 3; got 2"),
        ({"image_size": 0}, "image_size is a whole number of pixels; got 0"),
        ({"image_size": 2.5}, "image_size is a whole number"),
    ],
)
def test_options_out_of_range(folder, options, words):
    with pytest.raises(UsageError, match=words):
        data.own_images(folder, **options)


def test_images_that_memory_does_not_hold(folder, monkeypatch):
    module = sys.modules["kdnb.data.own_images"]
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=600))
    with pytest.raises(
        DataError, match="name a smaller image_size, or give the verbs a DataLoader"
    ):
        data.own_images(folder)
