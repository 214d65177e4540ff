"""Where a number comes from: commit, versions, hardware. Everything that a run writes includes it."""

from __future__ import annotations

import functools
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from kdnb import __version__
from kdnb.commit import code
from kdnb.training import devices

LIBRARIES = ("torch", "torchvision", "lightning-fabric", "numpy", "scipy", "timm")


def provenance() -> dict[str, Any]:
    """The commit (and whether the tree was dirty), library versions and hardware of this process.

    Without git or outside a checkout the commit is `"unknown"` and the tree counts as dirty.
    """
    return {**code(), "versions": _versions(), "hardware": _hardware()}


def now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "kdnb": __version__}
    for name in LIBRARIES:
        found[name] = metadata.version(name)
    return found


def _hardware() -> dict[str, Any]:
    import torch

    hardware = {
        "machine": platform.machine(),
        "cpu": getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name", platform.processor()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "arithmetic": "bfloat16"
        if devices.gains_from_bf16()
        else "float32",  # the meaning of a recipe's "auto"
    }
    if torch.cuda.is_available():
        hardware["gpu"] = torch.cuda.get_device_name()
    if devices.compiles():
        hardware["compiled"] = "torch.compile"
    return hardware
