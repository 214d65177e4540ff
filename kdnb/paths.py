"""Where things lie: the checkout, the data cache, the runs; and the one way to write a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The workbook's checkout: `KDNB_HOME`, or the folder that holds this package.

    Raises `FileNotFoundError` when neither holds `papers/`, for instance because only the
    package was installed and not the workbook.
    """
    home = Path(os.environ.get("KDNB_HOME", PACKAGE.parent)).resolve()
    if not (home / "papers").is_dir():
        raise FileNotFoundError(
            f"{home} is not a kdnb checkout (it has no papers/ folder): "
            "clone the workbook and set KDNB_HOME to it."
        )
    return home


def data_cache() -> Path:
    """The folder of verified data sets: `KDNB_CACHE`, or `data/cache/` of the checkout."""
    return _made(os.environ.get("KDNB_CACHE") or root() / "data" / "cache")


def runs() -> Path:
    """The folder of trials and executed notebooks: `KDNB_RUNS`, or `runs/` of the checkout."""
    return _made(os.environ.get("KDNB_RUNS") or root() / "runs")


def _made(folder: str | Path) -> Path:
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path


def atomic_write(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    The bytes go to a temporary file of the same folder, reach the disk, and are renamed.

    Args:
        durable: wait until the disk has them. Without that a killed process loses nothing either,
            but a power failure may.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def surroundings(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the processes that start while the block runs."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
