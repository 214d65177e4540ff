"""Random numbers of a run: a function of its seed, without changing the caller's state."""

from __future__ import annotations

import contextlib
import hashlib
import numbers
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from kdnb.names import brief


@contextlib.contextmanager
def own_random_state(device: torch.device | None = None) -> Iterator[None]:
    """Restore the caller's random state: training is a function of its seed alone."""
    others = random.getstate(), np.random.get_state()
    on_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        try:
            yield
        finally:
            random.setstate(others[0])
            np.random.set_state(others[1])


def check_seed(seed: Any) -> None:
    """Require a 64-bit integer.

    Raises:
        ValueError: names the value.
    """
    whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
    if not whole or not -(2**63) <= seed < 2**63:
        raise ValueError(
            f"seed must be a whole number from -2**63 to 2**63 - 1; got {brief(seed)}."
        )


def seed_everything(seed: int) -> None:
    """Seed torch on all devices, and random and numpy, which a user's Dataset may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def mix(*numbers: int) -> int:
    """A 63-bit seed derived from several numbers; different numbers give different seeds."""
    plain = tuple(int(number) for number in numbers)  # NumPy's have another repr
    return int.from_bytes(hashlib.sha256(repr(plain).encode()).digest()[:8], "big") >> 1
