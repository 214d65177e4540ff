"""Processes that run a trial's function on the other devices, beside the one that keeps its outcome.

They meet in a file and speak over the loopback interface: no port is open to others. One whose
parent has ended ends too.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kdnb.paths import surroundings, temporary_folder
from kdnb.runs import registry
from kdnb.training import devices

_COMPANION = "from kdnb.runs import companions; companions.accompany{arguments!r}"


@contextmanager
def spanned(digest: str, function: str, place: str) -> Iterator[None]:
    """While the block runs a trial's function, companions run it on the other devices.

    Args:
        digest: of the trial, whose description and parents are on disk.
        function, place: the registered name of its function, and where it is.

    Raises:
        RuntimeError: when a companion fails.
    """
    processes = devices.count()
    if processes == 1 or "LOCAL_RANK" in os.environ:
        yield
        return
    import torch.distributed as dist

    command = [sys.executable, "-c", _COMPANION.format(arguments=(digest, function, place))]
    with temporary_folder("kdnb-") as folder:
        meeting = {"KDNB_MEETING": str(folder / "meeting"), "TQDM_DISABLE": "1", **_loopback()}
        others = []
        try:
            for rank in range(1, processes):
                with (folder / f"said{rank}").open("wb") as said:
                    surrounded = {**os.environ, **meeting, "LOCAL_RANK": str(rank)}
                    others.append(
                        subprocess.Popen(
                            command, env=surrounded, stdin=subprocess.PIPE, stderr=said
                        )
                    )
            with surroundings({**meeting, "LOCAL_RANK": "0"}):
                yield
            for rank, other in enumerate(others, 1):
                if other.wait():
                    said = (folder / f"said{rank}").read_bytes()[-500:].decode(errors="replace")
                    raise RuntimeError(f"a companion of trial {digest} failed: {said}")
        finally:
            for other in others:
                other.kill()
                other.wait()
                other.stdin.close()
            if dist.is_initialized():
                dist.destroy_process_group()  # the next trial has a meeting of its own


def accompany(digest: str, function: str, place: str) -> None:
    """What a companion does, as long as its parent lives."""
    from kdnb.runs import trials  # which rests on this module

    threading.Thread(target=_follow_parent, daemon=True).start()
    registry.register(function, place)
    trials.accompany(digest)


def _follow_parent() -> None:
    os.read(0, 1)  # standard input ends with the process that holds its other end
    os._exit(1)


def _loopback() -> dict[str, str]:
    """The interface over which processes of one machine speak, for both libraries that ask."""
    name = next((one for _, one in socket.if_nameindex() if one.startswith("lo")), None)
    return {f"{library}_SOCKET_IFNAME": name for library in ("GLOO", "NCCL")} if name else {}
