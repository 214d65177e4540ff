"""Where data sets come from: every source gives the very same tensors, or says what is missing."""

import gzip
import os
import sys
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from data_workshop import (
    Workshop,
    expected,
    flipped,
    npz_file,
    record_files,
    same,
    sha,
    tar_file,
    write,
)

from kdnb import data
from kdnb.data.cards import DataError, read_card


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # the registries' clients are not there
    return Workshop(tmp_path)


# --- every form of a data set gives the very same tensors ----------------------------------------


def test_idx_files_raw_and_gzipped(shop):
    files = dict(shop.idx)
    for name in ("train-images", "t10k-labels"):
        files[f"{name}.gz"] = gzip.compress(files.pop(name))
    write(shop.own / "Grey" / "raw", files)
    assert same(shop.find("grey"), shop.grey) and shop.cached() == ["grey.npz"]


def test_a_folder_that_has_the_name_of_the_data_set(shop):
    shop.own = shop.own / "Grey" / "raw"
    write(shop.own, shop.idx)
    assert same(shop.find("grey"), shop.grey)


def test_files_of_the_same_name_in_any_other_folder_are_not_taken_for_it(shop):
    write(shop.own, shop.idx)
    assert "has neither grey.npz nor Grey/raw/" in shop.refused("grey")


def test_binary_records(shop):
    write(shop.own / "colour-bin", shop.bins)
    assert same(shop.find("colour"), shop.colour)


def test_the_official_archive(shop):
    write(shop.own, {"colour-binary.tar.gz": tar_file(shop.bins, "colour-bin")})
    assert same(shop.find("colour"), shop.colour)


@pytest.mark.parametrize("layout", [lambda x: x, lambda x: x.transpose(0, 2, 3, 1)])
def test_npz_of_colour_images(shop, layout):
    write(shop.own, {"colour.npz": npz_file(shop.colour, layout, classes=np.array(["a", "b"]))})
    assert same(shop.find("colour"), shop.colour)


def test_npz_of_grey_images_without_channels(shop):
    write(shop.own, {"grey.npz": npz_file(shop.grey, lambda images: images[:, 0])})
    assert same(shop.find("grey"), shop.grey)


def test_the_order_of_the_source_does_not_matter(shop):
    shuffled = {}
    for split, (images, labels) in shop.colour.items():
        order = np.random.default_rng(1).permutation(len(images))
        shuffled[split] = images[order], labels[order].astype(np.int32)
    write(shop.own, {"colour.npz": npz_file(shuffled)})
    assert same(shop.find("colour"), shop.colour)
    write(shop.own / "colour-bin", record_files(shuffled := {
        split: (images, labels.astype(np.uint8)) for split, (images, labels) in shuffled.items()
    }))  # fmt: skip
    (shop.own / "colour.npz").unlink()
    (shop.cache / "colour.npz").unlink()
    assert same(shop.find("colour"), shop.colour)


def test_the_second_time_it_comes_from_the_cache(shop):
    write(shop.own, {"colour.npz": npz_file(shop.colour)})
    shop.find("colour")
    (shop.own / "colour.npz").unlink()
    assert same(shop.find("colour"), shop.colour)


def test_files_beside_the_card_are_read_and_not_cached(shop):
    write(shop.folder / "cards" / "grey", shop.idx)
    assert same(shop.find("grey", folders=False), shop.grey) and shop.cached() == []
    assert same(shop.find("grey"), shop.grey) and shop.cached() == []


def test_the_splits_of_a_loaded_data_set(shop, monkeypatch):
    write(shop.own / "colour-bin", shop.bins)
    card = shop.card("colour")
    monkeypatch.setenv("KDNB_DATA_DIRS", os.pathsep.join(["/nowhere", str(shop.own)]))
    monkeypatch.setenv("KDNB_CACHE", str(shop.cache))
    monkeypatch.setattr("kdnb.data.sources.card", lambda name: card)
    loaded = data.load("colour", offline=True)
    images, labels = expected(shop.colour, "train")
    assert torch.equal(loaded.train_all.images, images)
    assert torch.equal(loaded.train.images, images[:22])
    assert torch.equal(loaded.validation.labels, labels[22:])
    assert len(loaded.test) == 10 and loaded.classes == ("a", "b", "c")
    assert (loaded.name, loaded.mean, loaded.card) == ("colour", (0.5, 0.5, 0.5), card)
    assert data.load("colour", offline=True) is loaded


# --- the authors and the registries ---------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def test_no_network_is_one_sentence_with_the_ways_out(shop, no_network):
    message = shop.refused("colour", offline=False)
    assert message.count(". ") == 0 and message.endswith("try again.")
    for part in ("Colour is not on this machine", "Name or service not known",
                 "npm, which could fetch colours, is not installed", "colour.npz",
                 "KDNB_DATA_DIRS", "connect to the network", "install npm"):  # fmt: skip
        assert part in message, message
    assert "apt-get" in shop.refused("grey", offline=False)
    assert shop.cached() == []


def test_offline_asks_nobody(shop, monkeypatch):
    monkeypatch.setattr("kdnb.data.fetch.from_authors", lambda *_: pytest.fail("asked"))
    message = shop.refused("colour")
    assert "must not be fetched" in message and "allow the network" in message


def sent(monkeypatch, content):
    """The authors' server sends this archive."""

    def download_url(url, root, md5=None):
        assert url == "https://authors.example/colour-binary.tar.gz" and md5
        (root / "colour-binary.tar.gz").write_bytes(content)

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", download_url)


def test_the_authors_archive(shop, monkeypatch):
    sent(monkeypatch, tar_file(shop.bins, "colour-bin"))
    assert same(shop.find("colour", offline=False), shop.colour)
    assert shop.cached() == ["colour.npz"]


def test_the_authors_files_through_torchvision(shop, monkeypatch):
    class Fake:
        def __init__(self, root, download):
            assert download
            write(root / "Grey" / "raw", shop.idx)

    monkeypatch.setattr(torchvision.datasets, "MNIST", Fake)
    assert same(shop.find("grey", offline=False), shop.grey)


def test_a_wrong_archive_of_the_authors_is_named(shop, monkeypatch):
    wrong = flipped(shop.bins["batch_1.bin"])
    sent(monkeypatch, tar_file(shop.bins | {"batch_1.bin": wrong}, "colour-bin"))
    message = shop.refused("colour", offline=False)
    assert "the authors' colour-binary.tar.gz/batch_1.bin is not Colour" in message
    assert f"expected SHA-256 {sha(shop.bins['batch_1.bin'])}, found {sha(wrong)}" in message
    assert "kdnb-" not in message and shop.cached() == []


def client(shop, name, lines):
    """Put a program of this name on the PATH, a Python script that may use `files`."""
    folder = shop.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{sys.executable}\nimport sys, pathlib\n{lines}\n")
    (folder / name).chmod(0o755)


def carry(shop, files):
    """An npm that has one package."""
    package = shop.folder / "package.tgz"
    package.write_bytes(tar_file(files, "package"))
    client(shop, "npm", "assert sys.argv[1:3] == ['pack', 'colours@1.2.3']\n"
           f"pathlib.Path('colours-1.2.3.tgz').write_bytes(open({str(package)!r}, 'rb').read())")  # fmt: skip


def test_the_npm_package(shop, no_network):
    carry(shop, shop.rows | {"../../outside": b"must not be written"})
    assert same(shop.find("colour", offline=False), shop.colour)


@pytest.mark.parametrize("name", ["batch_2.png", "t.json", "labels.json"])
@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"[1]"])
def test_damage_in_the_npm_package(shop, no_network, name, damage):
    content = damage(shop.rows[name])
    carry(shop, shop.rows | {name: content})
    message = shop.refused("colour", offline=False)
    assert f"the npm package colours/{name}" in message, message
    assert f"expected SHA-256 {sha(shop.rows[name])}, found {sha(content)}" in message
    assert shop.cached() == []


def test_the_debian_package(shop, no_network):
    store = shop.folder / "store"
    write(store, {f"{name}.gz": gzip.compress(content) for name, content in shop.idx.items()})
    client(shop, "apt-get", "assert sys.argv[1:] == ['download', 'dataset-grey']\n"
           "pathlib.Path('dataset-grey_1_all.deb').touch()")  # fmt: skip
    client(shop, "dpkg-deb", "import shutil; assert sys.argv[1] == '-x'\n"
           f"shutil.copytree({str(store)!r}, sys.argv[3] + '/usr/share/grey')")  # fmt: skip
    assert same(shop.find("grey", offline=False), shop.grey)


def test_a_registry_that_fails(shop, no_network):
    client(shop, "npm", "sys.exit('npm error 404 no such package')")
    client(shop, "apt-get", "sys.exit('E: Unable to locate package dataset-grey')")
    assert "npm error 404" in shop.refused("colour", offline=False)
    message = shop.refused("grey", offline=False)
    assert "Unable to locate package dataset-grey" in message and "apt-get update" in message


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"), [("mnsit", "mnist"), ("CIFAR-10", "cifar10"), ("FashionMNIST", "fashion_mnist")]
)  # fmt: skip
def test_an_unknown_name_gives_the_nearest(typed, meant):
    with pytest.raises(DataError, match=f"did you mean '{meant}'"):
        data.load(typed)


def test_a_malformed_card_is_named(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text('title = "x"\nmeen = [0.5]\n')
    with pytest.raises(DataError, match=r"broken.toml is malformed(.|\n)*meen"):
        read_card(path)
