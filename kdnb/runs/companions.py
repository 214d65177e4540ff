"""Processes that run a trial's function on the other devices, beside the one that keeps its outcome.

They meet through a file and communicate over the loopback interface: no port is open to others. They
end with their parent; and if one fails, the first process fails at once with the same message.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from kdnb.names import brief
from kdnb.paths import surroundings, temporary_folder
from kdnb.runs import registry
from kdnb.training import devices, threads

LATE = 5.0  # seconds for a companion to end after torch reports that it is gone
_COMPANION = "from kdnb.runs import companions; companions.accompany{arguments!r}"


@contextmanager
def spanned(digest: str, function: str, place: str) -> Iterator[None]:
    """While the block runs a trial's function, companions run it on the other devices.

    Args:
        digest: the digest of the trial, whose description and parents are on disk.
        function, place: the registered name of its function, and its location.

    Raises:
        RuntimeError: if a companion fails.
    """
    processes = devices.count()
    if processes == 1 or "LOCAL_RANK" in os.environ:
        yield
        return
    import torch.distributed as dist

    command = [sys.executable, "-c", _COMPANION.format(arguments=(digest, function, place))]
    others: list[subprocess.Popen[bytes]] = []
    with temporary_folder("kdnb-") as folder:

        def look() -> None:
            for rank, other in enumerate(others, 1):
                if other.poll():
                    said = _last_words(folder / f"said{rank}", other.returncode)
                    raise RuntimeError(f"a companion of trial {digest} failed: {said}")

        part = threads.share(processes)
        meeting = {"KDNB_MEETING": str(folder / "meeting"), "TQDM_DISABLE": "1"}
        meeting |= _loopback() | part
        try:
            for rank in range(1, processes):
                with (folder / f"said{rank}").open("wb") as said:
                    surrounded = {**os.environ, **meeting, "LOCAL_RANK": str(rank)}
                    others.append(
                        subprocess.Popen(
                            command, env=surrounded, stdin=subprocess.PIPE, stderr=said
                        )
                    )
            with (
                surroundings({**meeting, "LOCAL_RANK": "0"}),
                threads.taking(int(part["OMP_NUM_THREADS"])),
                devices.meeting_while(look),
            ):
                try:
                    yield
                except RuntimeError as error:  # torch's own error does not say why
                    late = monotonic() + LATE
                    while dist.is_initialized() and monotonic() < late:
                        _raise_from(look, error)
                        sleep(0.1)
                    raise
            while any(other.poll() is None for other in others):
                look()
                sleep(0.02)
            look()
        finally:
            for other in others:
                other.kill()
                other.wait()
                other.stdin.close()
            if dist.is_initialized():
                dist.destroy_process_group()  # the next trial starts its own group


def _raise_from(look: Callable[[], None], error: Exception) -> None:
    try:
        look()
    except RuntimeError as failure:
        raise failure from error


def _last_words(said: Path, code: int) -> str:
    """The error message of a companion, without its traceback."""
    if code < 0:
        return f"it was ended by signal {-code}."
    lines = [
        re.sub(r"^\[rank\d+\]: ?", "", line).strip()  # torch's prefix
        for line in said.read_bytes()[-5000:].decode(errors="replace").splitlines()
    ]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    found = (errors or [line for line in lines if line] or [f"exit code {code}"])[-1]
    return found if len(found) < 400 else brief(found, 400)


def accompany(digest: str, function: str, place: str) -> None:
    """Entry point of a companion; it ends with its parent."""
    from kdnb.runs import trials  # it imports this module

    threading.Thread(target=_follow_parent, daemon=True).start()
    registry.register(function, place)
    trials.accompany(digest)


def _follow_parent() -> None:
    os.read(0, 1)  # standard input closes when the parent ends
    os._exit(1)


def _loopback() -> dict[str, str]:
    """The interface for processes of one machine, in the variables of both libraries."""
    name = next((one for _, one in socket.if_nameindex() if one.startswith("lo")), None)
    return {f"{library}_SOCKET_IFNAME": name for library in ("GLOO", "NCCL")} if name else {}
