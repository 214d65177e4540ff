"""Make .venv exactly what requirements.lock says, and do nothing where it already is.

The Makefile calls it with the standard library alone, from any Python >= 3.11; on Windows, where
there is no make, one calls it oneself: `py -3.12 -I tools\\make_venv.py`. A stamp in .venv
names what it was made of; it says "installing" from before the first file until the last one,
so a set-up killed at any moment is known for what it is and made again. One lock per checkout
keeps two calls apart.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = "Scripts" if os.name == "nt" else "bin"  # of a virtual environment
GB = 10**9
# Measured on Linux x86-64: .venv grows to 6.9 GB, and pip holds the 3.2 GB of packages beside it
# until it ends. With its cache on the same disk pip keeps a second copy of these.
DISK = 10 * GB
DISK_WITH_CACHE = 13.5 * GB
REPORT_EVERY = 20.0


class SetUpError(Exception):
    """What is missing and what to do, in one sentence."""


def stamp(root: Path, python: str) -> dict[str, str]:
    """What a finished .venv was made of; `root` is in it because scripts hold absolute paths."""
    digests = {
        name: hashlib.sha256((root / name).read_bytes()).hexdigest()
        for name in ("requirements.lock", "pyproject.toml")
    }
    return {**digests, "python": python, "root": str(root)}


def read_stamp(root: Path) -> dict[str, str] | None:
    """The stamp in .venv: None where there is none, empty where a set-up did not finish."""
    try:
        content = json.loads((root / ".venv/kdnb.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def write_stamp(root: Path, content: dict[str, str]) -> None:
    part = root / ".venv/kdnb.json.part"
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(root / ".venv/kdnb.json")


def venv_python(root: Path) -> str | None:
    """The version ("3.11") of .venv's interpreter; None where it does not run or is not there.

    One that has lost its pyvenv.cfg runs, as the system's Python, and must not count.
    """
    code = "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix)"
    command = [str(root / ".venv" / SCRIPTS / "python"), "-I", "-c", code]
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    version, _, prefix = answer.stdout.strip().partition(" ")
    return version if Path(prefix).resolve() == (root / ".venv").resolve() else None


def plan(root: Path, wanted: str | None = None) -> str:
    """What .venv needs: "nothing", "kdnb", "packages" or "everything".

    "kdnb" is our own package again, where only pyproject.toml changed: the others come from the
    lock alone. "packages" is the lock into an environment that somebody else made, which is
    never deleted. `wanted` is the Python version that the caller insists on, if any.
    """
    python, found = venv_python(root), read_stamp(root)
    other = python is not None and wanted not in (None, python)
    if python is not None and found is None:
        if other or tuple(map(int, python.split("."))) < (3, 11):
            raise SetUpError(
                f"{root / '.venv'} holds Python {python} and was not made by this Makefile: "
                "move or remove it, then call make again."
            )
        return "packages"
    if python is None or not found or other:
        return "everything"
    expected = stamp(root, python)
    if found == expected:
        return "nothing" if any((root / ".venv" / SCRIPTS).glob("kdnb*")) else "kdnb"
    expected["pyproject.toml"] = found.get("pyproject.toml", "")
    return "kdnb" if found == expected else "everything"


def check_python() -> None:
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        version = ".".join(map(str, sys.version_info[:2]))
        raise SetUpError(
            f"{sys.executable} (Python {version}) comes without venv or ensurepip: install them "
            f"(Debian, Ubuntu: apt install python{version}-venv), or name another Python with "
            "PYTHON=... ."
        )


def check_disk(folder: Path, free: int) -> bool:
    """Whether there is room for pip's cache as well; SetUpError where there is none at all."""
    if free < DISK:
        raise SetUpError(
            f"Setting up takes {DISK / GB:.0f} GB in {folder}, and its disk has "
            f"{free / GB:.1f} GB free: make room, or let .venv be a link to a folder elsewhere."
        )
    return free >= DISK_WITH_CACHE


def explain(output: str) -> str:
    """One sentence for the way pip failed, from what it printed."""
    if "DO NOT MATCH THE HASHES" in output or "hash mismatch" in output.lower():
        name = re.search(
            r"MATCH THE HASHES.*?^\s+([\w.-]+(?:==[\w.]+)?)", output, re.DOTALL | re.MULTILINE
        )
        which = name.group(1) if name else "a package"
        return (
            f"The registry's file of {which} does not have the SHA-256 in requirements.lock, so "
            "it was not installed: try again, and if it stays do not trust this registry or "
            "mirror."
        )
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return "The disk is full: make room, then call make again."
    if "No module named pip" in output:
        return "The environment in .venv has no pip: move or remove it, then call make again."
    missing = re.search(r"No matching distribution found for (\S+)", output)
    network = (
        r"Connection refused|ConnectionError|NewConnectionError|NameResolutionError|timed out"
        r"|name resolution|Max retries exceeded|ProxyError|SSLError|Network is unreachable"
        r"|Connection broken|Connection aborted|HTTP error [45]"
    )
    if re.search(network, output):
        return (
            "The package registry cannot be reached: connect to the network, or name a mirror in "
            "PIP_INDEX_URL, then call make again."
        )
    if missing:
        version = ".".join(map(str, sys.version_info[:2]))
        return (
            f"The registry has no ready-made {missing.group(1)} for Python {version} on this "
            "system: name another Python with PYTHON=..., or check PIP_INDEX_URL."
        )
    errors = re.findall(r"^\s*(?:ERROR|[\w.]*Error): *(?!Exception:)(\S.*)", output, re.MULTILINE)
    return f"A step of the set-up failed: {errors[0] if errors else 'see the log'}."


def environment(temporary: Path) -> dict[str, str]:
    """The caller's environment, less what would make pip install or look elsewhere.

    Temporary files go where .venv is: /tmp is often too small for them, and then the check of
    the free disk would have looked at the wrong one.
    """
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
    kept |= {name: str(temporary) for name in ("TEMP", "TMP")} if os.name == "nt" else {}
    pip = {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**kept, **pip, "TMPDIR": str(temporary)}


def step(root: Path, command: list[str], log: Path, lock: int) -> None:
    """Run one command into the log, telling now and then where it is.

    It inherits the checkout's lock, so that if we are killed and it is not, nobody starts to
    work on the same .venv beside it.
    """
    temporary = root / ".venv/tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    begin, start = time.monotonic(), log.stat().st_size
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=root, env=environment(temporary), stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, **({"pass_fds": (lock,)} if fcntl else {}),
        )  # fmt: skip
        try:
            while (code := wait(process)) is None:
                print(f"  {time.monotonic() - begin:3.0f} s: {stage(log.read_bytes())}", flush=True)
        except BaseException:  # an interrupt or a kill that we can still answer
            process.kill()
            raise
    shutil.rmtree(temporary, ignore_errors=True)
    if code:
        output = log.read_bytes()[start:].decode(errors="replace")
        raise SetUpError(f"{explain(output)} (Log: {log.relative_to(root)})")


def wait(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code, or None when it still runs after a while."""
    try:
        return process.wait(REPORT_EVERY)
    except subprocess.TimeoutExpired:
        return None


def stage(output: bytes) -> str:
    """Where pip is, in a few words, from its log so far."""
    if b"Installing collected packages" in output:
        return "unpacking"
    fetched = len(re.findall(rb"^Collecting ", output, re.MULTILINE))
    return f"fetching, {fetched} packages so far"


@contextmanager
def locked(root: Path) -> Iterator[int]:
    """Hold the checkout's lock; the kernel lets go of it when its last holder ends."""
    with (root / ".venv.lock").open("w") as file:
        if not taken(file.fileno()):
            print("Waiting for another set-up of this checkout to end ...", flush=True)
            while not taken(file.fileno()):
                time.sleep(1)
        yield file.fileno()


def taken(file: int) -> bool:
    """Take an open file for this process, until it ends; False where another has it."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):  # the second on Windows
        return False
    return True


def install(root: Path, work: str, lock: int) -> None:
    """Do the work that `plan` named."""
    venv, log = root / ".venv", root / "runs/setup.log"
    log.parent.mkdir(exist_ok=True)
    log.write_bytes(b"")
    pip = [str(venv / SCRIPTS / "python"), "-I", "-m", "pip", "install", "--progress-bar", "off"]
    packages = [*pip, "--require-hashes", "--only-binary", ":all:", "-r", "requirements.lock"]
    if work == "everything":
        check_python()
        venv.mkdir(exist_ok=True)
        empty(venv)
        if not check_disk(venv, shutil.disk_usage(venv).free):
            packages.append("--no-cache-dir")
        print("Setting up .venv: 210 packages, 6.9 GB, 2 to 4 minutes on a fast network", end=" ")
        print(f"(log: {log.relative_to(root)}).", flush=True)
        write_stamp(root, {})
        # From inside an activated .venv sys.executable is the very file just removed.
        base = getattr(sys, "_base_executable", None) or sys.executable
        step(root, [base, "-I", "-m", "venv", str(venv)], log, lock)
    elif read_stamp(root):
        write_stamp(root, {})
    if work != "kdnb":
        step(root, packages, log, lock)
    # The build backend is in the lock, so nothing without a hash is fetched.
    step(root, [*pip, "--no-deps", "--no-build-isolation", "-e", str(root)], log, lock)
    write_stamp(root, stamp(root, venv_python(root) or ""))


def empty(folder: Path) -> None:
    """Remove all that a folder holds, and not the folder: .venv may be a link to another disk."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def set_up(root: Path, wanted: str | None = None) -> None:
    """Bring .venv to what the lock says; a no-op where the stamp says that it is there."""
    if plan(root, wanted) == "nothing":
        return
    with locked(root) as lock:
        work = plan(root, wanted)  # again: somebody else may have done it meanwhile
        if work != "nothing":
            begin = time.monotonic()
            install(root, work, lock)
            print(f"Set up in {time.monotonic() - begin:.0f} s.", flush=True)


def main() -> int:
    named = os.environ.get("PYTHON")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that pip ends with us
    try:
        set_up(ROOT, ".".join(map(str, sys.version_info[:2])) if named else None)
    except SetUpError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The set-up stopped: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: the next make sets up again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
