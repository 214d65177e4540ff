"""What a trial runs on: its arithmetic, several devices at once, networks compiled.

One trial over several devices has a process for each, and Fabric averages the gradients (DDP):
`kdnb reproduce hinton2015 --devices 2`, or `KDNB_DEVICES=2`. Every process runs the trial's function with the same
seeds, so all make the same batches, and each trains on its share of every batch: the global batch
stays the recipe's. The process that was asked is the first; it alone writes.

The last batch of an epoch may be any number of samples: each process counts for those it has. Batch
normalisations are not synchronised. They see their process's share of a batch, which a line says,
and the running statistics that are kept are those of the first process. On GPUs
`torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)` synchronises them (not run; torch has it for
no CPU). A network that answers several times in one step may be refused by DDP.

`kdnb reproduce hinton2015 --compile`, or `KDNB_COMPILE=1`, trains networks as `torch.compile` translates
them. The first run of a network takes up to a minute for each shape of a batch; later runs of the same
architecture in the same process reuse the result, and torch keeps it on disk for other processes. So it
pays in runs of hours, or of many seeds; `kdnb bench steps` measures by how much. The numbers equal those
of the plain networks up to rounding. A network whose inner layers a method watches (most of chapters 2.2
and 2.3, DAFL's teacher) stays as it is. What this page says of GPUs (CUDA graphs, several devices) has
not been run: we had none.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from kdnb.names import UsageError, number_in

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric
    from torch import nn


def count() -> int:
    """The devices that one trial spans: `KDNB_DEVICES`, 1 by default."""
    return number_in("KDNB_DEVICES", 1, most=64)


def span(devices: int) -> None:
    """Let every trial from here on span so many devices, in this process and in those it starts.

    Raises:
        ValueError: when there are fewer GPUs.
    """
    import torch

    there = torch.cuda.device_count()
    if 0 < there < devices:
        raise UsageError(f"--devices asks for {devices}, but this machine has {there} GPU(s).")
    os.environ["KDNB_DEVICES"] = str(devices)


def gains_from_bf16() -> bool:
    """Whether bf16 autocast is faster here: native bf16 arithmetic on the GPU or the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in capabilities)


def compiles() -> bool:
    """Whether networks are compiled for training: `KDNB_COMPILE=1`."""
    return os.environ.get("KDNB_COMPILE", "0") not in ("", "0")


def can_compile() -> bool:
    """Whether `torch.compile` finds what it needs: a GPU, or a C++ compiler (g++, or `CXX`)."""
    import torch

    return torch.cuda.is_available() or shutil.which(_compiler()) is not None


def start_compiling() -> None:
    """Compile networks from here on, in this process and in those it starts.

    Raises:
        ValueError: where the compiler's own compiler is missing.
    """
    if not can_compile():
        raise ValueError(
            f"--compile needs a C++ compiler: install {_compiler()}, or name one in CXX."
        )
    os.environ["KDNB_COMPILE"] = "1"


def _compiler() -> str:
    return os.environ.get("CXX", "g++")


def compiled(network: nn.Module, *, trained: bool, constant: bool = False) -> nn.Module:
    """The network as it runs in training. One whose inner layers somebody watches stays as it is.

    On a GPU a network that is trained becomes CUDA graphs (`reduce-overhead`), which spare small
    batches the launching of kernels. One that only answers does not: a graph's next answer
    overwrites its last, and a step may ask a teacher twice.

    Args:
        constant: its weights never change again, so the compiler may write them into the code. On a
            CPU that fuses convolutions with what follows them.
    """
    import torch

    watched = any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    if not compiles() or watched or not getattr(network, "compiles", True):
        return network
    on_gpu = torch.cuda.is_available()
    # A shape of its own for each size of a batch: code for every size is slower for all.
    if constant and not on_gpu:
        return torch.compile(network, dynamic=False, options={"freezing": True})
    graphs = trained and on_gpu
    return torch.compile(network, dynamic=False, mode="reduce-overhead" if graphs else None)


def uncompiled() -> AbstractContextManager:
    """While it lasts, compiled networks run as they were written: for a look between epochs."""
    import torch

    return torch.compiler.set_stance("force_eager") if compiles() else nullcontext()


def fabric(precision: str) -> Fabric:
    """A launched Fabric over the devices of the running trial; on one, the same at every call."""
    several = "LOCAL_RANK" in os.environ and count() > 1
    return _launched(precision, count()) if several else _alone(precision)


@functools.cache
def _alone(precision: str) -> Fabric:
    return _launched(precision, 1)


def _launched(precision: str, devices: int) -> Fabric:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    # Fabric announces its precision at every set-up, which a recipe states already. (Its import
    # lets it speak, so it is silenced afterwards.)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Named, since inside a SLURM job Fabric would take SLURM's tasks for the processes.
    options: dict[str, Any] = {"devices": devices, "plugins": LightningEnvironment()}
    if devices > 1:
        _meet(devices)
        options["strategy"] = "ddp_find_unused_parameters_true"
    made = Fabric(precision=precision, **options)
    made.launch()
    return made


_look: Callable[[], None] = lambda: None  # see `meeting_while`


@contextmanager
def meeting_while(look: Callable[[], None]) -> Iterator[None]:
    """While this process waits for the others of its trial in the block, `look` is called.

    It raises where one of them has ended: torch would wait for it half an hour.
    """
    global _look
    before, _look = _look, look
    try:
        yield
    finally:
        _look = before


def _meet(processes: int) -> None:
    """Join the others of the running trial in the file that `kdnb.runs.companions` names.

    A port that is free now may be another's a moment later, and would listen on every interface.
    """
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        return
    rank = int(os.environ["LOCAL_RANK"])
    store = dist.FileStore(os.environ["KDNB_MEETING"], processes)
    store.set(f"come{rank}", "yes")
    while not store.check([f"come{other}" for other in range(processes)]):
        _look()  # nothing interrupts torch once it waits for the others
        time.sleep(0.05)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, rank=rank, store=store, world_size=processes)


def several_processes() -> bool:
    """Whether this process belongs to a group that trains together."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def default_device() -> torch.device:
    """Where Fabric trains unless told otherwise: the accelerator where there is one."""
    import torch

    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def arithmetic(name: str) -> str:
    """What a recipe's `precision` means on this machine, in Fabric's words."""
    if name == "auto":
        name = "bf16" if gains_from_bf16() else "32"
    return {"32": "32-true", "bf16": "bf16-mixed"}[name]
