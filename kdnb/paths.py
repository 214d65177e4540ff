"""Where things lie: the checkout, the data cache, the runs; and the one way to write a file."""

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
except ImportError:  # Windows: what a killed process leaves there stays
    fcntl = None

PACKAGE = Path(__file__).resolve().parent
HELD = ".held"  # the file beside a temporary folder, taken by its process


class DiskError(OSError):
    """Something cannot be written; the message says what, why, and what to do."""

    def __str__(self) -> str:
        return self.strerror


def root() -> Path:
    """The workbook's checkout: `KDNB_HOME`, or the folder that holds this package.

    Raises `FileNotFoundError` when neither holds `papers/`, for instance because only the
    package was installed and not the workbook.
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
    """The folder that an environment variable names, absolute; None where it names none.

    The variable is absolute from then on: processes started from here work in other folders.
    """
    value = os.environ.get(variable)
    if not value:
        return None
    path = Path(value).expanduser().absolute()
    os.environ[variable] = str(path)
    return path


def data_folders() -> tuple[Path, ...]:
    """The folders of `KDNB_DATA_DIRS` in which data sets are looked for, absolute like `given`."""
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

    The bytes go to a temporary file of the same folder, reach the disk, and are renamed. What
    killed processes left of the same file is taken away.

    Args:
        durable: wait until the disk has them. Without that a killed process loses nothing either,
            but a power failure may.

    Raises:
        DiskError: when the disk is full, or the folder cannot be written to.
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
                os.replace(name, path)  # while it is locked: nobody takes it for left behind
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def check_writable(folder: Path) -> None:
    """Raises `DiskError` where no file can be made in a folder, before work is done for it."""
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def reserve(file: int, size: int) -> None:
    """Take the room of an open file on the disk now, not while it is written.

    Raises `OSError` when the disk has too little; a mapped file would kill the process instead.
    """
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say in words when a path cannot be written, as `DiskError`."""
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
    """Hold a lock file; others wait.

    Raises:
        filelock.Timeout: when another holds it for longer than `timeout` seconds; -1 waits.
        DiskError: when it cannot be made.
    """
    lock = FileLock(path, timeout=timeout)
    with told(path):
        while not lock.is_locked:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except FileNotFoundError:  # who held it removed the folder
                if path.parent.exists():
                    raise
    try:
        yield
    finally:
        lock.release()


def sweep(folder: Path, name: str | None = None) -> int:
    """Take away the temporary files that killed processes left in a folder; how many.

    Args:
        name: only those of this file.
    """
    pattern = f".{escape(name)}.*.tmp" if name else ".*.tmp"
    return sum(if_unused(path, path.unlink) for path in list(folder.glob(pattern)))


def sweep_folders(prefix: str, parent: Path) -> int:
    """Take away the temporary folders that killed processes left; how many."""

    def removed(lock: Path) -> None:
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink()

    found = list(parent.glob(f"{escape(prefix)}*{HELD}"))
    return sum(if_unused(lock, lambda lock=lock: removed(lock)) for lock in found)


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder that goes when the block ends, or at the next such call if the process was killed.

    Args:
        prefix: of its name; what others with it have left is taken away.
        parent: where it lies; the system's folder for temporary files when None.
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
        if fcntl is None:  # Windows removes no file that is open
            os.close(handle)
        lock.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(handle)


def if_unused(path: Path, act: Callable[[], object]) -> bool:
    """Do something with a file that no process has taken (`take`); whether it was done."""
    with contextlib.suppress(OSError), path.open("r+b") as file:
        if take(file.fileno(), wait=False):
            act()
            return True
    return False


def take(file: int, *, wait: bool = True, shared: bool = False) -> bool:
    """Lock an open file until it is closed or its process ends; False where another has it.

    On a file system without locks all is taken: nobody's file is mistaken for left behind.
    """
    if fcntl is None:
        return wait
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (not wait) * fcntl.LOCK_NB)
    except OSError:
        return wait
    return True


def _temporary(folder: Path, prefix: str, suffix: str) -> tuple[int, str]:
    """A new file, open and taken."""
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=suffix)
        take(handle)
        if os.fstat(handle).st_nlink:  # else another swept it before it was taken
            return handle, name
        os.close(handle)


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
