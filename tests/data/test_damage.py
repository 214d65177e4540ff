"""Damaged, wrong and hostile files: what the error names, and that the cache stays clean."""

import gzip
import hashlib
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_workshop import (
    Workshop,
    digest_of,
    flipped,
    npz_file,
    same,
    sha,
    tar_file,
    write,
)

from kdnb.data import DataError
from kdnb.data.cards import read_card
from kdnb.data.sources import find


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # the registries' clients are not there
    return Workshop(tmp_path)


def check(shop, name, path, expected, found):
    message = shop.refused(name)
    assert str(path) in message, message
    assert f"expected SHA-256 {expected}" in message, message
    assert f"found {found}" in message, message
    assert "try again" in message
    assert shop.cached() == []


IDX_DAMAGE = {
    "a flipped byte": ("train-images", flipped),
    "truncated": ("t10k-images", lambda content: content[:-1]),
    "too long": ("train-labels", lambda content: content + b"\0"),
    "another header": ("t10k-labels", lambda content: flipped(content, 3)),
    "empty": ("train-images", lambda content: b""),
}


@pytest.mark.parametrize("kind", IDX_DAMAGE)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx_files(shop, kind, packed):
    name, damage = IDX_DAMAGE[kind]
    content = damage(shop.idx[name])
    folder = shop.own / "Grey" / "raw"
    write(folder, shop.idx)
    (folder / name).unlink()
    path = folder / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content) if packed else content)
    check(shop, "grey", path, sha(shop.idx[name]), sha(content))


@pytest.mark.parametrize("damage", [lambda content: content[:-20], flipped, lambda _: b"no gzip"])
def test_damaged_gzip_files(shop, damage):
    name = "train-images"
    content = damage(gzip.compress(shop.idx[name]))
    folder = shop.own / "Grey" / "raw"
    write(folder, shop.idx)
    (folder / name).unlink()
    write(folder, {f"{name}.gz": content})
    check(shop, "grey", folder / f"{name}.gz", sha(shop.idx[name]), f"{sha(content)} of the file")


def test_a_missing_file(shop):
    folder = shop.own / "Grey" / "raw"
    write(folder, shop.idx)
    (folder / "t10k-labels").unlink()
    check(shop, "grey", f"{folder} holds only a part of Grey: t10k-labels",
          sha(shop.idx["t10k-labels"]), "no file")  # fmt: skip


@pytest.mark.parametrize("damage", [flipped, lambda c: c[:-1], lambda c: c * 2, lambda _: b""])
@pytest.mark.parametrize("name", ["batch_2.bin", "test.bin"])
def test_damaged_records(shop, name, damage):
    folder = shop.own / "colour-bin"
    content = damage(shop.bins[name])
    write(folder, shop.bins | {name: content})
    check(shop, "colour", folder / name, sha(shop.bins[name]), sha(content))


def test_a_file_without_a_digest_of_its_own(shop):
    folder = shop.own / "colour-bin"
    write(folder, shop.bins | {"test.bin": flipped(shop.bins["test.bin"])})
    images, labels = shop.colour["test"]
    changed = images.copy()
    changed.reshape(-1)[-5] ^= 1
    card = shop.card("colour").model_copy(update={"file_sha256": {}})
    with pytest.raises(DataError) as caught:
        find(card, shop.cache, [shop.own], offline=True)
    message = str(caught.value)
    assert "test.bin" in message and str(folder) in message
    assert f"expected SHA-256 {card.sha256['test']}" in message
    assert f"found {digest_of(changed, labels)}" in message


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda _: b"no archive"])
def test_a_damaged_archive(shop, damage):
    whole = tar_file(shop.bins, "colour-bin")
    path, content = shop.own / "colour-binary.tar.gz", damage(whole)
    write(shop.own, {path.name: content})
    message = shop.refused("colour")
    assert str(path) in message and shop.cached() == []
    md5 = hashlib.md5(whole).hexdigest(), hashlib.md5(content).hexdigest()
    assert f"expected MD5 {md5[0]}, found {md5[1]}" in message


def test_a_wrong_file_in_an_archive(shop):
    path, content = shop.own / "colour-binary.tar.gz", flipped(shop.bins["test.bin"])
    write(shop.own, {path.name: tar_file(shop.bins | {"test.bin": content}, "colour-bin")})
    check(shop, "colour", path / "test.bin", sha(shop.bins["test.bin"]), sha(content))


def test_a_wrong_image_in_an_npz(shop):
    images, labels = shop.grey["test"]
    other = images ^ 1
    write(shop.own, {"grey.npz": npz_file(shop.grey | {"test": (other, labels)})})
    check(shop, "grey", shop.own / "grey.npz", digest_of(images, labels), digest_of(other, labels))


def test_splits_in_each_others_place_are_refused(shop):
    swapped = {"train": shop.grey["test"], "test": shop.grey["train"]}
    write(shop.own, {"grey.npz": npz_file(swapped)})
    assert "not uint8 30 x 1 x 4 x 3" in shop.refused("grey")


NPZ_DAMAGE = {
    "a missing array": ({"test_labels": None}, "test_labels is not a file"),
    "a wrong shape": ({"train_images": np.zeros((30, 5, 3), np.uint8)}, r"uint8 \(30, 5, 3\), not"),
    "too few": ({"test_images": np.zeros((9, 4, 3, 1), np.uint8)}, "not uint8 10 x 1 x 4 x 3"),
    "floats": ({"train_images": np.zeros((30, 4, 3, 1))}, "train images are float64"),
    "float labels": ({"train_labels": np.zeros(30)}, "train labels are float64"),
    "labels too high": ({"test_labels": np.full(10, 3)}, "labels lie in 3 to 3, not 0 to 2"),
    "labels too low": ({"test_labels": np.full(10, -1)}, "labels lie in -1 to -1, not 0 to 2"),
    "labels in a column": ({"test_labels": np.zeros((10, 1), np.uint8)}, r"\(10, 1\), not 10"),
}


@pytest.mark.parametrize("kind", NPZ_DAMAGE)
def test_wrong_npz_arrays(shop, kind):
    changes, reason = NPZ_DAMAGE[kind]
    content = npz_file(shop.grey, **changes)
    write(shop.own, {"grey.npz": content})
    split = next(iter(changes)).split("_")[0]
    check(shop, "grey", shop.own / "grey.npz", digest_of(*shop.grey[split]), sha(content))
    assert re.search(reason, shop.refused("grey"))


def test_damaged_npz_files_never_give_data_or_another_error(shop):
    whole = npz_file(shop.grey)
    draw = np.random.default_rng(0)
    for number in range(150):
        content = bytearray(whole)
        content[draw.integers(len(whole))] ^= 1 << int(draw.integers(8))
        content = bytes(content) if number % 2 else whole[: draw.integers(len(whole))]
        write(shop.own, {"grey.npz": content})
        try:
            splits = shop.find("grey")
        except DataError as error:
            assert "grey.npz" in str(error) and "expected SHA-256" in str(error)
            assert shop.cached() == []
        else:  # the flipped bit was in a part that means nothing, such as a date
            assert same(splits, shop.grey)
            (shop.cache / "grey.npz").unlink()


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_ever_unpickled(shop):
    sprung = shop.folder / "sprung"
    images = np.array([Trap(sprung)], object)
    write(shop.own, {"grey.npz": npz_file(shop.grey, train_images=images)})
    assert "grey.npz" in shop.refused("grey")
    (shop.own / "grey.npz").write_bytes(pickle.dumps(Trap(sprung)))
    assert "grey.npz" in shop.refused("grey")
    write(shop.own / "colour-py", {"data_batch_1": pickle.dumps(Trap(sprung))})
    message = shop.refused("colour")
    assert "never read" in message and "colour-binary.tar.gz" in message
    assert not sprung.exists()


@pytest.mark.parametrize("damage", [flipped, lambda content: content[:-50], lambda _: b""])
def test_a_damaged_cache_is_taken_away(shop, damage):
    write(shop.own, {"colour.npz": npz_file(shop.colour)})
    shop.find("colour")
    kept = shop.cache / "colour.npz"
    with np.load(kept) as file:
        position = kept.read_bytes().index(file["train_images"].tobytes())
    content = kept.read_bytes()
    kept.write_bytes(flipped(content, position + 9) if damage is flipped else damage(content))
    check(shop, "colour", kept, digest_of(*shop.colour["train"]), "")
    assert same(shop.find("colour"), shop.colour)


def test_what_a_killed_process_left_is_swept(shop):
    write(shop.cache, {".colour.npz.x1y2.tmp": b"half", ".grey.npz.zz.tmp": b"of another"})
    write(shop.own, {"colour.npz": npz_file(shop.colour)})
    shop.find("colour")
    assert sorted(shop.cached()) == [".grey.npz.zz.tmp", "colour.npz"]


def test_two_processes_at_once(shop):
    write(shop.own, {"colour.npz": npz_file(shop.colour)})
    script = (
        "import sys, pathlib; from kdnb.data.cards import read_card;"
        "from kdnb.data.sources import find; card, cache, own = map(pathlib.Path, sys.argv[1:]);"
        "print(find(read_card(card), cache, [own], offline=True)['train'].digest)"
    )
    command = [sys.executable, "-c", script, str(shop.card("colour").path), shop.cache, shop.own]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    wanted = digest_of(*shop.colour["train"])
    assert [process.communicate()[0].strip() for process in started] == [wanted] * 2
    assert shop.cached() == ["colour.npz"]


@pytest.mark.parametrize("error", [MemoryError(), PermissionError(13, "no"), OSError(5, "no")])
def test_a_reading_error_is_no_damage_and_takes_nothing_away(shop, monkeypatch, error):
    write(shop.own, {"colour.npz": npz_file(shop.colour)})
    shop.find("colour")
    kept = shop.cache / "colour.npz"
    content = kept.read_bytes()

    def fail(*_, **__):
        raise error

    for module, name in ((Path, "read_bytes"), (np, "load")):
        if name == "load" and not isinstance(error, MemoryError):
            continue  # what is read from memory fails by damage alone
        with monkeypatch.context() as patched, pytest.raises(type(error)) as caught:
            patched.setattr(module, name, fail)
            shop.find("colour")
        assert caught.value is error
    assert kept.read_bytes() == content


HOSTILE = {
    "an import path": ('torchvision = "MNIST"', 'torchvision = "os:system"'),
    "another class": ('torchvision = "MNIST"', 'torchvision = "ImageFolder"'),
    "a folder outside": ('"grey"]', '"../../grey"]'),
    "an absolute folder": ('"grey"]', '"/etc"]'),
    "a file outside": ("train-images", "../train-images"),
    "a package by address": ('"dataset-grey"', '"https://x.example/a.tgz"'),
    "a package by path": ('"dataset-grey"', '"../a"'),
    "an option": ('"dataset-grey"', '"--option"'),
    "an archive without a digest": ('torchvision = "MNIST"', 'archive = "https://x.example/a"'),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_card_names_nothing_outside(shop, kind):
    path = shop.card("grey").path
    text = path.read_text()
    for key in ("torchvision", "folders", "name", "folder"):  # as the replacements have them
        text = text.replace(f'"{key}" = ', f"{key} = ")
    before, after = HOSTILE[kind]
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(DataError, match="is malformed"):
        read_card(path)
