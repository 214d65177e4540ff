"""Processes that end at a chosen write: forked from one that has imported everything, some ms each."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib
import io
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Python announces these before it does them.
WRITES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.truncate",
    "shutil.rmtree",
}


def count_writes(folder: str, reached: Callable[[], None]) -> None:
    """Call `reached` before every change of a file below a folder, as long as this process lives.

    Opening to write and having opened, taking room on the disk, bringing bytes to it, renaming and
    removing count; so does every `tiny_runs.stage`.
    """
    import tiny_runs

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        elif event in WRITES:
            path, writes = arguments[0], True
        else:
            return
        named = isinstance(path, (str, bytes, os.PathLike))
        if writes and named and os.fsdecode(path).startswith(folder):
            reached()

    def announced(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            reached()
            return function(*arguments, **named)

        return called

    opened = io.open

    def opening(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        file = opened(path, mode, *arguments, **named)
        ours = not isinstance(path, int) and os.fsdecode(path).startswith(folder)
        if ours and set(mode) & set("wax+"):
            reached()  # it is there, and empty
        return file

    io.open = builtins.open = opening
    os.fsync, os.posix_fallocate = announced(os.fsync), announced(os.posix_fallocate)
    tiny_runs.stage = reached
    sys.addaudithook(hook)


class Child:
    """A process at work on `module:function`; `wait` gives its exit code and what it returned."""

    def __init__(self, server: _Server, job: Path, pid: int) -> None:
        self.server, self.job, self.pid = server, job, pid

    def kill(self, sign: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sign)

    @property
    def running(self) -> bool:
        return not (self.job / "code").exists()

    def wait(self, seconds: float = 120) -> tuple[int, Any]:
        """Exit code, negative for a signal; and the value, or what was printed where it failed."""
        deadline = time.monotonic() + seconds
        while self.running:
            assert self.server.process.poll() is None, "the server of processes has died"
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"a process hangs: {self.said()}")
            time.sleep(0.003)
        code, value = int((self.job / "code").read_text()), self.job / "value"
        return code, pickle.loads(value.read_bytes()) if value.exists() else self.said()

    def said(self) -> str:
        return (self.job / "said").read_text(errors="replace")


class _Server:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="campaign-"))
        path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import processes; processes.serve()"],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self.jobs = 0
        atexit.register(self.close)

    def start(self, **job: Any) -> Child:
        self.jobs += 1
        folder = self.folder / str(self.jobs)
        folder.mkdir()
        self.process.stdin.write(json.dumps({**job, "job": str(folder)}) + "\n")
        return Child(self, folder, int(self.process.stdout.readline()))

    def close(self) -> None:
        import shutil

        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


_servers: list[_Server] = []


def start(
    function: str, *arguments: Any, folder: Path | str = "", at: int = 0, sign: int = 0, **env: str
) -> Child:
    """Start a process.

    Args:
        function: `module:name`, called with the arguments (JSON values).
        at, sign: before its change number `at` of a file below `folder`, it sends itself the signal.
            Where `at` is 0, its value is the number of these changes beside the function's value.
        env: environment variables.
    """
    if not _servers:
        _servers.append(_Server())
    return _servers[0].start(
        function=function, arguments=arguments, folder=str(folder), at=at, sign=sign, env=env
    )


def serve() -> None:
    """Fork a process for every line that comes in, and write down how each ends."""
    _warm_up()
    running: dict[int, str] = {}
    lines = sys.stdin.fileno()
    waiting = b""
    while True:
        ready, _, _ = select.select([lines], [], [], 0.004)
        if ready:
            read = os.read(lines, 1 << 16)
            if not read:
                return
            waiting += read
        while b"\n" in waiting:
            line, waiting = waiting.split(b"\n", 1)
            job = json.loads(line)
            if (pid := os.fork()) == 0:
                _work(job)
            running[pid] = job["job"]
            print(pid, flush=True)
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            part = Path(running.pop(pid)) / "code"
            part.with_suffix(".part").write_text(str(os.waitstatus_to_exitcode(status)))
            part.with_suffix(".part").rename(part)


def _warm_up() -> None:
    """Import once, here, what the processes need; much of it is imported when it is first used."""
    import tiny_runs

    import kdnb.papers
    import kdnb.workbook.runner  # noqa: F401
    from kdnb.runs.provenance import provenance

    provenance()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KDNB_RUNS"], os.environ["KDNB_TEST_TRACE"] = folder, f"{folder}/trace"
        tiny_runs.run_all(*(one.describe() for one in tiny_runs.everything(0)))


def _work(job: dict[str, Any]) -> None:
    folder = Path(job["job"])
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(said, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(job["env"])
    reached = 0
    code = 1

    def change() -> None:
        nonlocal reached
        reached += 1
        if reached == job["at"]:
            os.kill(os.getpid(), job["sign"])

    try:
        module, _, name = job["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        if job["folder"]:
            count_writes(job["folder"], change)
        value = function(*job["arguments"])
        if job["folder"] and not job["at"]:
            value = reached, value
        (folder / "value").write_bytes(pickle.dumps(value))
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test judges it
        os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        sys.stdout.flush()
        os._exit(code)
