"""Processes that run a trial's function on the other devices, beside the one that keeps its outcome."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from kdnb.paths import surroundings
from kdnb.training import devices

_COMPANION = (
    "from kdnb.runs import registry, trials; "
    "registry.register({function!r}, {place!r}); trials.accompany({digest!r})"
)


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

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TQDM_DISABLE": "1"}
    command = [
        sys.executable,
        "-c",
        _COMPANION.format(digest=digest, function=function, place=place),
    ]
    others = [
        subprocess.Popen(
            command, env={**os.environ, **meeting, "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE
        )
        for rank in range(1, processes)
    ]
    try:
        with surroundings({**meeting, "LOCAL_RANK": "0"}):
            yield
        for other in others:
            _, said = other.communicate()
            if other.returncode:
                raise RuntimeError(f"a companion of trial {digest} failed: {said[-500:].decode()}")
    finally:
        for other in others:
            other.kill()
        if dist.is_initialized():
            dist.destroy_process_group()  # the next trial has a port of its own
