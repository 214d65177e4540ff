"""Two tiny data sets with cards of their own, in every format: nothing is downloaded."""

import gzip
import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from kdnb.data.cards import Card, DataError, read_card
from kdnb.data.sources import find

GREY, COLOUR = (1, 4, 3), (3, 4, 4)
SIZES = {"train": 30, "test": 10}
IDX = {"train": ["train-images", "train-labels"], "test": ["t10k-images", "t10k-labels"]}
BINS = {"train": ["batch_1.bin", "batch_2.bin"], "test": ["test.bin"]}
ROWS = {"train": ["batch_1.png", "batch_2.png", "labels.json"], "test": ["t.png", "t.json"]}


def made(shape):
    """{split: (images (N, C, H, W), labels)} of a tiny data set with three classes."""
    draw = np.random.default_rng(0)
    return {
        split: (
            draw.integers(0, 256, (count, *shape), dtype=np.uint8),
            np.arange(count, dtype=np.uint8) % 3,
        )
        for split, count in SIZES.items()
    }


def records_of(images, labels):
    return [bytes([y]) + x.tobytes() for x, y in zip(images, labels, strict=True)]


def digest_of(images, labels):
    """The digest of a split, as the documentation defines it."""
    digests = sorted(hashlib.sha256(record).digest() for record in records_of(images, labels))
    return hashlib.sha256(b"".join(digests)).hexdigest()


def idx_files(arrays):
    """{name: content} in the format of MNIST."""
    files = {}
    for split, (images, labels) in arrays.items():
        count, _, height, width = images.shape
        head = np.array([2051, count, height, width], ">u4").tobytes()
        files[IDX[split][0]] = head + images.tobytes()
        files[IDX[split][1]] = np.array([2049, count], ">u4").tobytes() + labels.tobytes()
    return files


def record_files(arrays):
    """{name: content} in the format of CIFAR-100: a coarse label, the label, the image."""
    files = {}
    for split, (images, labels) in arrays.items():
        records = [b"\x07" + record for record in records_of(images, labels)]
        step = len(records) // len(BINS[split])
        for number, name in enumerate(BINS[split]):
            files[name] = b"".join(records[number * step : (number + 1) * step])
    return files


def row_files(arrays):
    """{name: content} as PNG files with an image a row, and a list of labels."""
    files = {}
    for split, (images, labels) in arrays.items():
        *pictures, last = ROWS[split]
        step = len(images) // len(pictures)
        rows = images.transpose(0, 2, 3, 1).reshape(len(images), -1, images.shape[1])
        for number, name in enumerate(pictures):
            buffer = io.BytesIO()
            Image.fromarray(rows[number * step : (number + 1) * step]).save(buffer, "PNG")
            files[name] = buffer.getvalue()
        files[last] = json.dumps(labels.tolist()).encode()
    return files


def npz_file(arrays, layout=lambda images: images.transpose(0, 2, 3, 1), **changes):
    found = {}
    for split, (images, labels) in arrays.items():
        found |= {f"{split}_images": layout(images), f"{split}_labels": labels}
    found = {key: value for key, value in (found | changes).items() if value is not None}
    buffer = io.BytesIO()
    np.savez(buffer, **found)
    return buffer.getvalue()


def tar_file(files, folder):
    buffer = io.BytesIO()  # gzip would stamp the time: each second another digest
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def toml(values, head=""):
    """A card's TOML text, tables last."""
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.items()
             if key not in tables]  # fmt: skip
    for key, table in tables.items():
        lines += [f"[{key}]", toml(table)]
    return "\n".join(lines) + "\n"


class Workshop:
    """A folder with cards, an empty cache and the tiny data sets' files."""

    def __init__(self, folder):
        self.folder, self.cache, self.own = folder, folder / "cache", folder / "own"
        self.cache.mkdir()
        self.own.mkdir()
        self.grey, self.colour = made(GREY), made(COLOUR)
        self.idx, self.bins = idx_files(self.grey), record_files(self.colour)
        self.rows = row_files(self.colour)

    def card(self, name) -> Card:
        grey = name == "grey"
        arrays, files = (self.grey, self.idx) if grey else (self.colour, self.bins | self.rows)
        idx = {"format": "idx", **IDX, "folders": ["Grey/raw", "grey"], "torchvision": "MNIST"}
        bins = {"format": "records", **BINS, "label_bytes": 2, "folders": ["colour-bin"],
                "archive": "https://authors.example/colour-binary.tar.gz", "pickled": "colour-py",
                "md5": hashlib.md5(tar_file(self.bins, "colour-bin")).hexdigest()}  # fmt: skip
        apt = {"client": "apt", "name": "dataset-grey", "folder": "usr/share/grey"}
        npm = {"client": "npm", "name": "colours", "version": "1.2.3", "folder": "package"}
        text = toml({
            "title": name.title(), "about": "made up", "classes": ["a", "b", "c"],
            "shape": GREY if grey else COLOUR, "validation": 8, "licence": "none", "cite": "us",
            "mean": [0.5] * (1 if grey else 3), "sd": [0.3] * (1 if grey else 3), "sizes": SIZES,
            "sha256": {split: digest_of(*pair) for split, pair in arrays.items()},
            "official": idx if grey else bins,
            "package": apt | {"format": "idx", **IDX} if grey else npm | {"format": "rows", **ROWS},
            "file_sha256": {n: hashlib.sha256(c).hexdigest() for n, c in files.items()},
        })  # fmt: skip
        path = self.folder / "cards" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return read_card(path)

    def find(self, name, offline=True, folders=True):
        return find(self.card(name), self.cache, [self.own] if folders else [], offline=offline)

    def refused(self, name, **options) -> str:
        with pytest.raises(DataError) as caught:
            self.find(name, **options)
        return str(caught.value)

    def cached(self):
        return [path.name for path in self.cache.iterdir() if not path.name.endswith(".lock")]


def expected(arrays, split):
    """Images and labels in canonical order, the naive way."""
    images, labels = arrays[split]
    digests = [hashlib.sha256(record).digest() for record in records_of(images, labels)]
    order = sorted(range(len(digests)), key=lambda position: digests[position])
    return torch.from_numpy(images[order]), torch.from_numpy(labels[order]).long()


def same(splits, arrays):
    for split in SIZES:
        images, labels = expected(arrays, split)
        assert torch.equal(splits[split].images, images)
        assert torch.equal(splits[split].labels, labels)
        assert splits[split].digest == digest_of(*arrays[split])
    return True


def flipped(content, where=-5):
    changed = bytearray(content)
    changed[where] ^= 1
    return bytes(changed)


def sha(content):
    return hashlib.sha256(content).hexdigest()
