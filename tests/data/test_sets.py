"""The cards that come with kdnb, and the data sets themselves where they are at hand."""

import numpy as np
import pytest
import torch

from kdnb import data
from kdnb.paths import root

PER_CLASS = {"mnist": None, "fashion_mnist": (6000, 1000), "cifar10": (5000, 1000),
             "cifar100": (500, 100)}  # fmt: skip


def test_there_is_a_card_for_each():
    assert set(data.names()) >= set(PER_CLASS)


@pytest.mark.parametrize("name", data.names())
def test_cards_are_complete(name):
    card = data.card(name)
    channels = card.shape[0]
    assert card.name == name and len(card.mean) == len(card.sd) == channels
    assert len(set(card.classes)) == len(card.classes) <= 256
    assert set(card.sizes) == set(card.sha256) == {"train", "test"}
    assert all(len(digest) == 64 for digest in (*card.sha256.values(), *card.file_sha256.values()))
    assert f"{{{card.cite}," in (root() / "papers" / "references.bib").read_text(encoding="utf-8")


def test_official_class_orders():
    for name in ("cifar10", "cifar100"):
        classes = data.card(name).classes
        assert list(classes) == sorted(classes)
    assert data.card("mnist").classes == tuple("0123456789")
    assert data.card("fashion_mnist").classes[9] == "Ankle boot"


@pytest.fixture(scope="module", params=sorted(PER_CLASS))
def loaded(request):
    try:
        return data.load(request.param, offline=True)
    except data.DataError as error:
        if request.param == "mnist" or "must not be fetched" not in str(error):
            raise
        pytest.skip(f"{request.param} is not on this machine")


def test_shapes_and_splits(loaded):
    card = loaded.card
    assert loaded.train_all.images.shape == (card.sizes["train"], *card.shape)
    assert loaded.test.images.shape == (card.sizes["test"], *card.shape)
    assert len(loaded.validation) == 10_000
    joined = torch.cat([loaded.train.labels, loaded.validation.labels])
    assert torch.equal(joined, loaded.train_all.labels)
    assert loaded.train_all.digest == card.sha256["train"]
    assert loaded.test.digest == card.sha256["test"]


def test_classes_are_as_many_as_published(loaded):
    expected = PER_CLASS[loaded.name]
    counts = [torch.bincount(part.labels).tolist() for part in (loaded.train_all, loaded.test)]
    if expected is None:  # MNIST
        expected_test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        expected_train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert counts == [expected_train, expected_test]
    else:
        assert [set(count) for count in counts] == [{expected[0]}, {expected[1]}]


def test_mean_and_sd_on_the_card_are_those_of_the_training_images(loaded):
    pixels = loaded.train_all.images.numpy()
    for channel, (mean, sd) in enumerate(zip(loaded.mean, loaded.sd, strict=True)):
        counts = np.bincount(pixels[:, channel].reshape(-1), minlength=256)
        values = np.arange(256) / 255
        found = np.average(values, weights=counts)
        assert found == pytest.approx(mean, abs=6e-5)
        assert np.average((values - found) ** 2, weights=counts) ** 0.5 == pytest.approx(
            sd, abs=6e-5
        )


def test_any_first_images_are_a_fair_sample(loaded):
    """The canonical order has nothing to do with the classes."""
    classes = len(loaded.classes)
    share = torch.bincount(loaded.train_all.labels, minlength=classes) / len(loaded.train_all)
    for part in (loaded.train_all.labels[:10_000], loaded.validation.labels):
        found = torch.bincount(part, minlength=classes).double()
        chi_square = ((found - share * 10_000) ** 2 / (share * 10_000)).sum()
        assert chi_square < classes + 5 * (2 * classes) ** 0.5


def test_the_first_images_stay_the_same():
    """What `mnist[0]` is, is part of every recorded result."""
    mnist = data.load("mnist")
    assert mnist.train.labels[:8].tolist() == [3, 7, 3, 4, 4, 3, 5, 1]


def test_images_as_tensors_are_what_batches_hold():
    digits = data.load("mnist")
    few = digits.train.select(slice(40))
    inputs, labels = few.tensors()
    batches = data.Batches(few, 40, mean=digits.mean, sd=digits.sd, shuffle=False)
    (batch,) = batches.epoch(0)
    assert torch.equal(inputs, batch.images) and torch.equal(labels, batch.labels)
    plain, _ = data.Images(few.images, few.labels).tensors()
    assert torch.equal(plain, few.images.float() / 255)
