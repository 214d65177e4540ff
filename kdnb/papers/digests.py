"""The committed list of digests: claims and records are the files that it names, byte for byte.

`papers/SHA256SUMS` has the format of `sha256sum`, which checks it too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from kdnb import paths
from kdnb.papers.records import PaperError


def path() -> Path:
    """Where the list lies; its names are below the same folder."""
    return paths.root() / "papers" / "SHA256SUMS"


def files() -> list[Path]:
    """The claims and the records of all papers, earlier ones too."""
    folder = path().parent
    return sorted([*folder.glob("*/claims.toml"), *folder.glob("*/results/**/*.json")])


def text() -> str:
    """The list of the files as they are."""
    return "".join(f"{_digest(file)}  {_name(file)}\n" for file in files())


def write() -> Path:
    """Write the list anew."""
    paths.atomic_write(path(), text())
    return path()


def verify(key: str = "") -> int:
    """Compare the claims and records of a paper, or of all, with the list.

    Returns:
        How many files are what the list says.

    Raises:
        PaperError: for the first that is changed, missing or not listed, or a damaged list.
    """
    listed = _listed()
    found = {_name(file): _digest(file) for file in files()}
    names = sorted(name for name in {*listed, *found} if not key or name.startswith(f"{key}/"))
    for name in names:
        if listed.get(name) != found.get(name):
            raise PaperError(
                f"papers/{name} is not what {path()} says: SHA-256 {found.get(name, 'of no file')}, "
                f"listed {listed.get(name, 'nothing')}. Restore it from git; if it is yours, "
                "`kdnb verdicts --write` lists it."
            )
    return len(names)


def _listed() -> dict[str, str]:
    """The digests of the list, by name."""
    try:
        lines = path().read_text(encoding="utf-8").splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except ValueError as error:  # bad UTF-8 is one too
        raise PaperError(
            f"{path()} is damaged: it has lines that are no digest and name. Restore it from git."
        ) from error


def _name(file: Path) -> str:
    return file.relative_to(path().parent).as_posix()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
