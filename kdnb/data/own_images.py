"""Your own images: a folder with one subfolder for each class, an `.npz` file, or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image, ImageOps
from torch import Tensor

from kdnb.data.cards import DataError, names
from kdnb.data.images import Images
from kdnb.names import UsageError, brief, nearest
from kdnb.progress import bar

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
TRAIN, HELD_OUT = ("train", "training"), ("test", "testing", "val", "valid", "validation")
GREY = ("1", "L", "LA")  # Pillow's modes
WORDS = "number them from 0, and name the classes in the array `classes` of an .npz file."


@dataclass(frozen=True)
class Normal:
    """The mean and standard deviation that normalise images, as in the card of a data set.

    Attributes:
        mean, sd: of each channel over the training images, on the 0-1 scale.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class OwnImages:
    """Your own images, in two parts that share no image.

    Attributes:
        train, held_out: use them like the images of a data set, in every training function. Their
            order is random, so the first n are a random sample.
        classes: the names of the classes, in the order of the labels.
        shape: (channels, height, width).
    """

    train: Images
    held_out: Images
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return tuple(self.train.images.shape[1:])

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return (
            f"OwnImages: {len(self.train)} training and {len(self.held_out)} held-out images of "
            f"{size} in {len(self.classes)} classes"
        )


def own_images(
    source: Any,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    held_out: float = 0.2,
    seed: int = 0,
) -> OwnImages:
    """Read, check, split and normalise your own images, for every training function.

    Args:
        source: a folder with one folder of image files for each class, or with `train` and one of
            `test`, `val` and `validation` that hold such folders; an `.npz` file with the arrays
            `images` and `labels`, and `test_images` and `test_labels` if they are split, and
            optionally `classes`, the names; or a pair (images, labels) of arrays or tensors. Arrays
            hold 0 to 255 in uint8, (N, H, W), (N, H, W, C) or (N, C, H, W).
        image_size: files are scaled to this height and width; without it all must have the same size.
        channels: 1 makes all images grey, 3 gives all images three channels; if None, files must be all
            grey or all coloured. Transparency is dropped.
        held_out: the share of every class to hold out from training, if the source is not split.
        seed: for this split and for the order.

    Raises:
        DataError: if the source is missing or has another form, or a file cannot be read; names it.
        UsageError: for an option out of range.
    """
    if not 0 < held_out < 1:
        raise UsageError(f"held_out is a share between 0 and 1; got {brief(held_out)}.")
    if channels not in (None, 1, 3):
        raise UsageError(f"channels is 1 or 3; got {brief(channels)}.")
    whole = isinstance(image_size, int) and not isinstance(image_size, bool) and image_size > 0
    if image_size is not None and not whole:
        raise UsageError(f"image_size is a whole number of pixels; got {brief(image_size)}.")
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if path.is_dir():
            parts, classes = _of_folder(path, image_size, channels)
        elif path.suffix == ".npz" and path.is_file():
            parts, classes = _of_npz(path)
        else:
            raise DataError(
                f"{path} is neither a folder nor an .npz file: give a folder with one folder of "
                "images for each class, or load a data set by its name "
                f"({nearest(path.name, names())})."
            )
    else:
        if not isinstance(source, (tuple, list)) or len(source) != 2:
            raise DataError(
                f"give a path or a pair (images, labels), not a {type(source).__name__}."
            )
        parts, classes = [_of_arrays(*source, "the images")], None
    classes = classes or tuple(map(str, range(1 + max(int(one.labels.max()) for one in parts))))
    _check_several(classes)
    if len(parts) == 1:
        parts = _split(parts[0], classes, held_out, seed)
    train, rest = parts
    if train.images.shape[1:] != rest.images.shape[1:]:
        sizes = " and ".join(str(tuple(one.images.shape[1:])) for one in parts)
        raise DataError(f"training and held-out images have different sizes: {sizes}.")
    if absent := set(range(len(classes))) - set(train.labels.tolist()):
        raise DataError(f"no training image is of class {classes[min(absent)]!r}.")
    scale = _normal(train.images)
    orders = [
        torch.randperm(len(one), generator=torch.Generator().manual_seed(seed)) for one in parts
    ]
    named = [
        Images(one.images[order], one.labels[order], scale)
        for one, order in zip(parts, orders, strict=True)
    ]
    return OwnImages(*named, classes)


# --- folders --------------------------------------------------------------------------------------


def _of_folder(
    path: Path, size: int | None, channels: int | None
) -> tuple[list[Images], tuple[str, ...]]:
    within = {one.name.lower(): one for one in path.iterdir() if one.is_dir()}
    named = (next((within[n] for n in names if n in within), None) for names in (TRAIN, HELD_OUT))
    folders = found if all(found := list(named)) else [path]
    classes = tuple(sorted(one.name for one in folders[0].iterdir() if _is_class(one)))
    if not classes:
        raise DataError(
            f"{folders[0]} holds no folder with images ({', '.join(ENDINGS)}): it needs one folder "
            "for each class."
        )
    _check_several(classes)
    files = [
        [(file, label) for label, name in enumerate(classes) for file in _images_in(one / name)]
        for one in folders
    ]
    if unknown := {one.name for one in folders[-1].iterdir() if _is_class(one)} - {*classes}:
        raise DataError(
            f"{folders[-1]} has the class {min(unknown)!r}, which {folders[0]} has not."
        )
    if not all(files):
        raise DataError(f"{folders[-1]} holds no image of a class that {folders[0]} has.")
    first = _opened(files[0][0][0])
    grey = channels == 1 if channels else first.mode in GREY
    shape = (size, size) if size else (first.height, first.width)
    _check_memory(sum(map(len, files)), shape, 1 if grey else 3)
    progress = bar(sum(map(len, files)), 0, "image")
    try:
        read = [_read(part, grey, not channels, shape, bool(size), progress) for part in files]
    finally:
        progress.close()
    return read, classes


def _read(
    files: Sequence[tuple[Path, int]],
    grey: bool,
    alike: bool,
    shape: tuple[int, int],
    scaled: bool,
    progress: Any,
) -> Images:
    pixels = np.empty((len(files), 1 if grey else 3, *shape), np.uint8)
    for row, (file, _) in enumerate(files):
        image = _opened(file)
        if alike and (image.mode in GREY) != grey:
            kinds = ("in colour", "grey") if grey else ("grey", "in colour")
            raise DataError(
                f"{file} is {kinds[0]}, others are {kinds[1]}: name the channels, 1 or 3, that all "
                "are to have."
            )
        image = image.convert("L" if grey else "RGB")
        if scaled:
            image = image.resize(shape[::-1], Image.Resampling.BILINEAR)
        if (image.height, image.width) != shape:
            raise DataError(
                f"{file} has {image.height} x {image.width} pixels, others {shape[0]} x {shape[1]}: "
                "name the image_size to which all are scaled."
            )
        read = np.asarray(image)
        pixels[row] = read if grey else read.transpose(2, 0, 1)
        progress.update()
    return Images(torch.from_numpy(pixels), torch.tensor([label for _, label in files]))


def _opened(file: Path) -> Image.Image:
    """A file's image, rotated upright as its metadata says."""
    try:
        with Image.open(file) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise DataError(f"{file} is no image that can be read ({error!s:.120}).") from error
    if upright.mode[0] in "IF":  # Pillow would clip them at 255
        raise DataError(
            f"{file} has more than 8 bits a pixel: scale its values to 0 to 255, or give the verbs "
            "tensors (inputs, labels)."
        )
    return upright


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".") and bool(_images_in(path))


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)
    return sorted(file for file in found if not file.name.startswith("."))


def _check_several(classes: Sequence[str]) -> None:
    if len(classes) < 2:
        raise DataError("there is one class only: a classifier needs two or more.")


def _check_memory(count: int, shape: tuple[int, int], channels: int) -> None:
    needed, there = count * channels * shape[0] * shape[1], psutil.virtual_memory().available
    if 2 * needed > there:
        raise DataError(
            f"{count} images of {shape[0]} x {shape[1]} pixels take {needed / 1e9:.1f} GB, and "
            f"{there / 1e9:.1f} GB of memory are free: name a smaller image_size, or give the verbs a "
            "DataLoader."
        )


# --- arrays ---------------------------------------------------------------------------------------


def _of_npz(path: Path) -> tuple[list[Images], tuple[str, ...] | None]:
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except Exception as error:  # a damaged archive raises many kinds of errors
        raise DataError(f"{path} cannot be read as an .npz file ({error!s:.120}).") from error
    pairs = [("images", "labels"), ("test_images", "test_labels")]
    pairs = [pair for pair in pairs if pair[0] in arrays or pair == pairs[0]]
    if missing := [name for pair in pairs for name in pair if name not in arrays]:
        there = ", ".join(arrays) or "nothing"
        raise DataError(f"{path} has no array {missing[0]!r}; it has {there}.")
    names = tuple(map(str, arrays["classes"].tolist())) if "classes" in arrays else None
    found = [_of_arrays(arrays[a], arrays[b], f"{path}: {a}") for a, b in pairs]
    if names and max(int(one.labels.max()) for one in found) >= len(names):
        raise DataError(f"{path} has labels beyond its {len(names)} classes.")
    return found, names


def _of_arrays(images: Any, labels: Any, what: str) -> Images:
    pixels, given = _numbers(images, what), _numbers(labels, f"the labels of {what}", WORDS)
    if not pixels.numel():
        raise DataError(
            f"{what} are empty: they must be (N, H, W), (N, H, W, C) or (N, C, H, W); got "
            f"{tuple(pixels.shape)}."
        )
    if pixels.dtype != torch.uint8:
        raise DataError(
            f"{what} are {pixels.dtype}, and must be uint8 from 0 to 255; give numbers of another "
            "kind to the verbs themselves, as tensors (inputs, labels)."
        )
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim == 4 and pixels.shape[1] not in (1, 3) and pixels.shape[3] in (1, 3):
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
    if pixels.ndim != 4:
        raise DataError(
            f"{what} must be (N, H, W), (N, H, W, C) or (N, C, H, W); got {tuple(pixels.shape)}."
        )
    whole = not given.is_floating_point() and given.dtype != torch.bool
    if given.shape != pixels.shape[:1] or not whole or int(given.min()) < 0:
        raise DataError(
            f"the labels of {what} must be {len(pixels)} whole numbers from 0; got {given.dtype} "
            f"{tuple(given.shape)}."
        )
    return Images(pixels, given.long())


def _numbers(values: Any, what: str, if_words: str = "") -> Tensor:
    """An array as a tensor.

    Args:
        if_words: advice for the error message if the array holds words.
    """
    if isinstance(values, Tensor):
        return values
    try:
        array = np.array(values)
    except (TypeError, ValueError, RuntimeError):  # of several shapes
        array = np.array(None)
    if array.dtype.kind in "US" and if_words:
        raise DataError(f"{what} are words: {if_words}")
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise DataError(
            f"{what} must be arrays of numbers, all of one shape; these are {array.dtype}."
        ) from error


def _split(images: Images, classes: Sequence[str], share: float, seed: int) -> list[Images]:
    """Hold out the same share of every class, at least one image; the rest keeps its order."""
    stream = torch.Generator().manual_seed(seed)
    apart = torch.zeros(len(images), dtype=torch.bool)
    for label, name in enumerate(classes):
        places = (images.labels == label).nonzero().flatten()
        if not len(places):
            raise DataError(
                f"no image has the label {label}: labels are numbered from 0 without gaps."
            )
        if len(places) < 2:
            raise DataError(f"class {name!r} has one image: it needs two, one of them held out.")
        count = min(max(1, round(share * len(places))), len(places) - 1)
        apart[places[torch.randperm(len(places), generator=stream)[:count]]] = True
    return [images.select(~apart), images.select(apart)]


def _normal(pixels: Tensor) -> Normal:
    """Mean and standard deviation by channel; a constant channel is not rescaled."""
    flat = pixels.transpose(0, 1).flatten(1)
    counts = torch.stack([torch.bincount(row.int(), minlength=256) for row in flat]).double()
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * levels).sum(1) / counts.sum(1)
    sd = ((counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1)).sqrt()
    sd = torch.where(sd > 0, sd, 1.0)
    return Normal(tuple(mean.tolist()), tuple(sd.tolist()))
