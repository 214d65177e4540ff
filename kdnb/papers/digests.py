"""The committed digests: of the bytes of claims files and records, and of the content of every record.

`papers/SHA256SUMS` has the format of `sha256sum`, which can check it too. A record contains the digest
of its own content, which is used to cite it; `papers/verdicts.json` gives it beside the verdicts.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from kdnb import paths
from kdnb.papers.records import PaperError, carries_digest, read_file, write_record


def path() -> Path:
    """The path of the list; the names in it are relative to the same folder."""
    return paths.root() / "papers" / "SHA256SUMS"


def files() -> list[Path]:
    """The claims files and records of all papers, including earlier ones."""
    folder = path().parent
    return sorted([*folder.glob("*/claims.toml"), *folder.glob("*/results/**/*.json")])


def records() -> list[Path]:
    """The records among them."""
    return [file for file in files() if file.suffix == ".json"]


def text() -> str:
    """The text of the list for the current files."""
    return "".join(f"{_digest(file)}  {_name(file)}\n" for file in files())


def write() -> Path:
    """Rewrite the list; records without a digest get one first."""
    for file in records():
        record = read_file(file)
        if not carries_digest(file):
            write_record(record, file)
    paths.atomic_write(path(), text())
    return path()


def verify(key: str = "") -> int:
    """Check the claims and records of a paper, or of all papers, against every stored digest.

    The bytes of each file are checked against the list; the recomputed digest of each record's content
    against the one in the record and the one in `papers/verdicts.json`.

    Returns:
        The number of files that match the list.

    Raises:
        PaperError: for the first file that is changed, missing or not listed, or a damaged list.
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
    held = {_name(file): read_file(file).digest for file in records() if _name(file) in names}
    for name, digest in _judged().items():
        if name in names and held.get(name) != digest:
            raise PaperError(
                f"papers/verdicts.json judges {name} of digest {digest}, but its content has "
                f"{held.get(name, 'none')}: kdnb verdicts --write judges it again."
            )
    return len(names)


def _judged() -> dict[str, str]:
    """The digests of the records behind the committed verdicts, by file name."""
    board = path().parent / "verdicts.json"
    if not board.is_file():
        return {}
    try:
        found = json.loads(board.read_bytes())["papers"]
        return {
            f"{key}/results/{about['profile']}.json": about["record"]
            for key, about in found.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PaperError(f"{board} is damaged: kdnb verdicts --write writes it anew.") from error


def _listed() -> dict[str, str]:
    """The digests in the list, by file name."""
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
