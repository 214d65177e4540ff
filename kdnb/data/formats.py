"""Readers of the file formats of data sets. Nothing is ever unpickled.

Each reader returns the content of a file; `verified` decides whether it is the right data.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from kdnb.data.cards import SPLITS, Card, DataError, Layout, Split
from kdnb.data.images import Images, canonical, digest, record_digests

Arrays = tuple[np.ndarray, np.ndarray]  # images (N, C, H, W) uint8 and labels (N,)


def holds(folder: Path, layout: Layout) -> bool:
    """Whether a folder contains any of the layout's files."""
    return any(_located(folder, name) for name in layout.train + layout.test)


def read_files(folder: Path, layout: Layout, card: Card) -> dict[Split, Images]:
    """The verified splits from the files of a layout.

    Raises:
        DataError: if a file is missing, unreadable or not the right one; names the file, and the
            expected and the found digest.
    """
    readers = {"idx": _idx, "records": _records, "rows": _rows}
    splits: dict[Split, Images] = {}
    for split in SPLITS:
        paths = [_needed(folder, name, card, split) for name in getattr(layout, split)]
        images, labels = readers[layout.format](paths, layout, card, split)
        records = _records_of(images, labels, card, split, paths)
        if digest(records) != card.sha256[split]:
            _blame(paths, card, split, digest(records))
        splits[split] = canonical(images, labels, records)
    return splits


def read_npz(path: Path, card: Card) -> dict[Split, Images]:
    """The verified splits from one .npz.

    It holds train_images, train_labels, test_images and test_labels; images are uint8, (N, H, W),
    (N, H, W, C) or (N, C, H, W). Other arrays are ignored.

    Raises:
        DataError: if an array is missing, unreadable or not the right one.
    """
    splits: dict[Split, Images] = {}
    content = path.read_bytes()  # outside the try block: an error of the disk is not a damaged file
    for split in SPLITS:
        try:
            with np.load(BytesIO(content), allow_pickle=False) as file:
                images, labels = file[f"{split}_images"], file[f"{split}_labels"]
        except MemoryError:
            raise
        except Exception as error:  # a damaged zip archive fails in a dozen ways
            why = f"it holds no readable {split} images and labels ({error!s:.120})"
            raise damaged(path, card, split, why) from error
        images = _channels_first(images, card.shape)
        records = _records_of(images, labels, card, split, [path])
        if digest(records) != card.sha256[split]:
            why = f"its {split} images or labels are others"
            raise damaged(path, card, split, why, found=digest(records))
        splits[split] = canonical(images, labels, records)
    return splits


def damaged(path: Path, card: Card, split: Split, why: str, found: str | None = None) -> DataError:
    """The error for a file that does not match the card."""
    expected = card.file_sha256.get(_plain(path), card.sha256[split])
    found = found or f"{_sha256_of(path)} of the file as it is"
    return DataError(
        f"{path} is not {card.title}: {why}; expected SHA-256 {expected}, found {found}."
    )


def _idx(paths: list[Path], layout: Layout, card: Card, split: Split) -> Arrays:
    channels, height, width = card.shape
    count = card.sizes[split]
    heads = ((2051, count, height, width), (2049, count))
    arrays = []
    for path, head in zip(paths, heads, strict=True):
        content = _content(path, card, split)
        expected = np.array(head, ">u4").tobytes()
        items = int(np.prod(head[1:])) * channels
        if content[: len(expected)] != expected or len(content) != len(expected) + items:
            why = f"it does not hold {' x '.join(map(str, head[1:]))} bytes in idx format"
            raise damaged(path, card, split, why, found=hashlib.sha256(content).hexdigest())
        arrays.append(np.frombuffer(bytearray(content), np.uint8, offset=len(expected)))
    return arrays[0].reshape(count, *card.shape), arrays[1]


def _records(paths: list[Path], layout: Layout, card: Card, split: Split) -> Arrays:
    size = layout.label_bytes + int(np.prod(card.shape))
    count = card.sizes[split] // len(paths)
    arrays = []
    for path in paths:
        content = _content(path, card, split)
        if len(content) != count * size:
            why = f"it does not hold {count} records of {size} bytes"
            raise damaged(path, card, split, why, found=hashlib.sha256(content).hexdigest())
        arrays.append(np.frombuffer(bytearray(content), np.uint8).reshape(count, size))
    records = np.concatenate(arrays)
    images = np.ascontiguousarray(records[:, layout.label_bytes :]).reshape(-1, *card.shape)
    return images, records[:, layout.label_bytes - 1]


def _rows(paths: list[Path], layout: Layout, card: Card, split: Split) -> Arrays:
    channels, height, width = card.shape
    count = card.sizes[split] // (len(paths) - 1)
    arrays = []
    for path in paths[:-1]:
        content = _content(path, card, split)
        try:
            pixels = np.asarray(Image.open(BytesIO(content)))
        except MemoryError:
            raise
        except Exception as error:  # so does a damaged image
            raise damaged(path, card, split, f"it is no readable image ({error!s:.120})") from error
        if pixels.shape != (count, height * width, channels):
            why = f"it does not hold {count} images, one a row"
            raise damaged(path, card, split, why, found=hashlib.sha256(content).hexdigest())
        arrays.append(_channels_first(pixels.reshape(count, height, width, channels), card.shape))
    try:
        labels = np.array(json.loads(_content(paths[-1], card, split)))
    except ValueError as error:
        raise damaged(paths[-1], card, split, f"it is no list of labels ({error})") from error
    return np.concatenate(arrays), labels


def _records_of(
    images: np.ndarray, labels: np.ndarray, card: Card, split: Split, paths: list[Path]
) -> list[bytes]:
    """The digests of the records, after checking shapes and types against the card."""
    count, classes, where, why = card.sizes[split], len(card.classes), paths[0], ""
    if images.dtype != np.uint8 or images.shape != (count, *card.shape):
        wanted = " x ".join(map(str, (count, *card.shape)))
        why = f"its {split} images are {images.dtype} {images.shape}, not uint8 {wanted}"
    elif labels.dtype.kind not in "iu" or labels.shape != (count,):
        where = paths[-1]
        why = f"its {split} labels are {labels.dtype} {labels.shape}, not {count} integers"
    elif count and not 0 <= labels.min() <= labels.max() < classes:
        where = paths[-1]
        why = f"its {split} labels lie in {labels.min()} to {labels.max()}, not 0 to {classes - 1}"
    if why:
        raise damaged(where, card, split, why)
    return record_digests(images, labels)


def _blame(paths: list[Path], card: Card, split: Split, found: str) -> None:
    """Raise the error for the file that does not match the card."""
    for path in paths:
        if (expected := card.file_sha256.get(_plain(path))) is not None:
            own = hashlib.sha256(_content(path, card, split)).hexdigest()
            if own != expected:
                raise damaged(path, card, split, "its content is another one", found=own)
    files = " and ".join(path.name for path in paths)
    raise DataError(
        f"{paths[0].parent} does not hold {card.title}: the {split} images and labels in {files} "
        f"are others; expected SHA-256 {card.sha256[split]}, found {found}."
    )


def _channels_first(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) as (N, C, H, W); other shapes are returned unchanged."""
    channels, height, width = shape
    if images.shape[1:] == (height, width) and channels == 1:
        return images[:, None]
    if images.shape[1:] == (height, width, channels) and images.shape[1:] != shape:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images


def _content(path: Path, card: Card, split: Split) -> bytes:
    """The bytes of a file, gunzipped if it is a .gz."""
    content = path.read_bytes()
    try:
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, card, split, f"it cannot be read ({error})") from error


def _located(folder: Path, name: str) -> Path | None:
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def _needed(folder: Path, name: str, card: Card, split: Split) -> Path:
    path = _located(folder, name)
    if path is None:
        raise DataError(
            f"{folder} holds only a part of {card.title}: {name} (or {name}.gz) is missing, "
            f"expected SHA-256 {card.file_sha256.get(name, card.sha256[split])}, found no file."
        )
    return path


def _plain(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "nothing"
