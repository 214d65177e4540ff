"""One trial over several devices: a process for each, gradients averaged by Fabric (DDP).

`kdnb run --devices 2`, or `KDNB_DEVICES=2`. Every process runs the trial's function with the same
seeds, so all make the same batches, and each trains on its share of every batch: the global batch
stays the recipe's. The process that was asked is the first; it alone writes.

Batch normalisations see their process's share of a batch: with them, the numbers of a run on two
devices are those of a run with half the batch there. A network that answers several times in one
step may be refused by DDP.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_COMPANION = "from kdnb.devices import accompany; accompany({digest!r})"


def count() -> int:
    """The devices that one trial spans: `KDNB_DEVICES`, 1 by default."""
    return int(os.environ.get("KDNB_DEVICES", "1"))


def span(devices: int) -> None:
    """Let every trial from here on span so many devices, in this process and in those it starts.

    Raises:
        ValueError: when there are fewer GPUs.
    """
    import torch

    there = torch.cuda.device_count()
    if 0 < there < devices:
        raise ValueError(f"--devices asks for {devices}, but this machine has {there} GPU(s).")
    os.environ["KDNB_DEVICES"] = str(devices)


@contextmanager
def spanned(digest: str) -> Iterator[None]:
    """While the block runs the trial's function, companions run it on the other devices.

    Raises:
        RuntimeError: when a companion fails.
    """
    devices = count()
    if devices == 1 or "LOCAL_RANK" in os.environ:
        yield
        return
    import torch.distributed as dist

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TQDM_DISABLE": "1"}
    command = [sys.executable, "-c", _COMPANION.format(digest=digest)]
    others = [
        subprocess.Popen(
            command, env={**os.environ, **place, "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE
        )
        for rank in range(1, devices)
    ]
    try:
        with mock.patch.dict(os.environ, place | {"LOCAL_RANK": "0"}):
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


def accompany(digest: str) -> None:
    """What a companion does: run the trial's function beside the first process, and forget it."""
    from kdnb import trials

    trials.work(trials.described(trials.description(digest)))


def fabric(precision: str) -> Fabric:
    """A launched Fabric over the devices of the running trial."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    # Fabric announces its precision at every set-up, which a recipe states already. (Its import
    # lets it speak, so it is silenced afterwards.)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Named, since inside a SLURM job Fabric would take SLURM's tasks for the processes.
    options: dict[str, Any] = {"devices": 1, "plugins": LightningEnvironment()}
    if "LOCAL_RANK" in os.environ and count() > 1:
        options |= {"devices": count(), "strategy": "ddp_find_unused_parameters_true"}
    made = Fabric(precision=precision, **options)
    made.launch()
    return made
