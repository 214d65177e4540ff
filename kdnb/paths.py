"""Locations of the checkout, the data cache and the runs; and atomic writing of files."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from filelock import FileLock

try:
    import fcntl
except ImportError:  # Windows: files that a killed process leaves are not removed
    fcntl = None

PACKAGE = Path(__file__).resolve().parent
HELD = ".held"  # the lock file beside a temporary folder, held by its process


class DiskError(OSError):
    """A file or folder cannot be written; the message says which, why, and what to do."""

    def __str__(self) -> str:
        return self.strerror


def root() -> Path:
    """The workbook's checkout: `KDNB_HOME`, or the folder that holds this package.

    Raises `FileNotFoundError` if neither contains `papers/`, for instance because only the
    package is installed, not the workbook.
    """
    home = (given("KDNB_HOME") or PACKAGE.parent).resolve()
    if not (home / "papers").is_dir():
        raise FileNotFoundError(
            f"{home} is not a kdnb checkout (it has no papers/ folder): "
            "clone the workbook and set KDNB_HOME to it."
        )
    return home


def data_cache() -> Path:
    """The folder of verified data sets: `KDNB_CACHE`, or `data/cache/` of the checkout."""
    return _made(given("KDNB_CACHE") or root() / "data" / "cache")


def runs() -> Path:
    """The folder of trials and executed notebooks: `KDNB_RUNS`, or `runs/` of the checkout."""
    return _made(given("KDNB_RUNS") or root() / "runs")


def given(variable: str) -> Path | None:
    """The absolute path of the folder in an environment variable; None if it is unset.

    The variable is made absolute too, because child processes may run in other folders.
    """
    value = os.environ.get(variable)
    if not value:
        return None
    path = Path(value).expanduser().absolute()
    os.environ[variable] = str(path)
    return path


def data_folders() -> tuple[Path, ...]:
    """The folders of `KDNB_DATA_DIRS` that are searched for data sets, made absolute as in `given`."""
    named = os.environ.get("KDNB_DATA_DIRS", "").split(os.pathsep)
    folders = tuple(Path(one).expanduser().absolute() for one in named if one)
    if folders:
        os.environ["KDNB_DATA_DIRS"] = os.pathsep.join(map(str, folders))
    return folders


def _made(folder: Path) -> Path:
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def atomic_write(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    The bytes go to a temporary file in the same folder, are flushed to disk, and the file is renamed.
    Temporary files that killed processes left for the same file are removed.

    Args:
        durable: flush to disk before renaming. Without it the file survives a killed process, but
            not necessarily a power failure.

    Raises:
        DiskError: if the disk is full, or the folder is not writable.
    """
    data = content.encode() if isinstance(content, str) else content
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        handle, name = _temporary(path.parent, f".{path.name}.", ".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                reserve(file.fileno(), len(data))
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                os.chmod(name, 0o644)
                if fcntl is None:
                    file.close()
                os.replace(name, path)  # while it is locked, so that it is not swept as a leftover
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def check_writable(folder: Path) -> None:
    """Raise `DiskError` if no file can be created in a folder, before any work is done."""
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def reserve(file: int, size: int) -> None:
    """Allocate the disk space of an open file now, not while it is written.

    Raises `OSError` if there is too little space; with a mapped file the process would be killed instead.
    """
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Convert errors in writing a path into a `DiskError` that explains them."""
    words = {
        errno.ENOSPC: "the disk is full: make room, or name a folder on another one",
        errno.EDQUOT: "your quota is used up: make room, or name a folder elsewhere",
        errno.EFBIG: "no larger file is allowed: raise the limit (ulimit -f), or name another folder",
        errno.EROFS: "the disk is read-only: name another folder",
        errno.EACCES: "you may not write there: name another folder, or change its permissions",
        errno.EPERM: "you may not write there: name another folder, or change its permissions",
        errno.ENOTDIR: "a file stands where a folder is needed: name another folder",
        errno.EEXIST: "a file stands where a folder is needed: name another folder",
        errno.ENOENT: "there is no such folder, and none can be made: name another folder",
        errno.ENAMETOOLONG: "the name is too long: name a shorter one",
        errno.ELOOP: "its links lead in a circle: name another folder",
    }
    try:
        yield
    except OSError as error:
        if isinstance(error, DiskError) or error.errno not in words:
            raise
        raise DiskError(error.errno, f"{path} cannot be written: {words[error.errno]}.") from error


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold a lock file; other processes wait.

    Raises:
        filelock.Timeout: if another process holds it for longer than `timeout` seconds; -1 waits for ever.
        DiskError: if it cannot be created.
    """
    lock = FileLock(path, timeout=timeout)
    with told(path):
        while not lock.is_locked:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except FileNotFoundError:  # its holder removed the folder
                if path.parent.exists():
                    raise
    try:
        yield
    finally:
        lock.release()


def sweep(folder: Path, name: str | None = None) -> int:
    """Remove the temporary files that killed processes left in a folder; returns their number.

    Args:
        name: only temporary files for this file.
    """
    pattern = f".{escape(name)}.*.tmp" if name else ".*.tmp"
    return sum(if_unused(path, path.unlink) for path in list(folder.glob(pattern)))


def sweep_folders(prefix: str, parent: Path) -> int:
    """Remove the temporary folders that killed processes left; returns their number."""

    def removed(lock: Path) -> None:
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink()

    found = list(parent.glob(f"{escape(prefix)}*{HELD}"))
    return sum(if_unused(lock, lambda lock=lock: removed(lock)) for lock in found)


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder that is removed after the block, or by the next such call if the process was killed.

    Args:
        prefix: of its name; leftover folders with the same prefix are removed.
        parent: where it is created; the system's folder for temporary files if None.
    """
    parent = parent or Path(tempfile.gettempdir())
    sweep_folders(prefix, parent)
    with told(parent):
        handle, name = _temporary(parent, prefix, HELD)
        lock = Path(name)
        folder = lock.with_suffix("")
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if fcntl is None:  # Windows cannot remove an open file
            os.close(handle)
        lock.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(handle)


def if_unused(path: Path, act: Callable[[], object]) -> bool:
    """Do something with a file that no process has locked (`take`); returns whether it was done."""
    with contextlib.suppress(OSError), path.open("r+b") as file:
        if take(file.fileno(), wait=False):
            act()
            return True
    return False


def take(file: int, *, wait: bool = True, shared: bool = False) -> bool:
    """Lock an open file until it is closed or its process ends; False if another process holds it.

    On a file system without locks every file counts as locked, so none is removed as a leftover.
    """
    if fcntl is None:
        return wait
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (not wait) * fcntl.LOCK_NB)
    except OSError:
        return wait
    return True


def _temporary(folder: Path, prefix: str, suffix: str) -> tuple[int, str]:
    """A new file, open and locked."""
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=suffix)
        take(handle)
        if os.fstat(handle).st_nlink:  # otherwise another process swept it before it was locked
            return handle, name
        os.close(handle)


@contextmanager
def surroundings(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that start inside the block."""
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
