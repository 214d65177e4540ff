"""The description of a run, its digest, and its result."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load as tensors_of
from torch import Tensor

from kdnb.runs import registry

# Part of every digest. Increase it when a change to the training code alters what a trial computes,
# so that old results are no longer mistaken for new ones.
NUMERICS = 1


@dataclass(frozen=True)
class Trial:
    """The description of one run.

    Attributes:
        function: its name in `kdnb.runs.registry`. It is called as
            function(context, seed, **arguments) and returns an `Outcome`.
        arguments: JSON values; a `Trial` anywhere among them is run first and passed as its
            `Result`.
        seed: for the initial weights and the order of the data.
    """

    function: str
    arguments: dict[str, Any]
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", registry.name_of(self.function))

    def describe(self) -> dict[str, Any]:
        """The description as JSON values; a nested trial is an object with one key, `trial`."""
        return {
            "function": self.function,
            "arguments": _encode(self.arguments),
            "seed": self.seed,
        }

    @functools.cached_property
    def digest(self) -> str:
        """24 hexadecimal digits that identify this description."""
        whole = {"numerics": NUMERICS, **registry.as_first_written(self.describe())}
        text = json.dumps(whole, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def parents(self) -> list[Trial]:
        """The trials among the arguments."""
        return list(_trials_in(self.arguments))


@dataclass(frozen=True)
class Context:
    """What a trial's function can use besides its arguments.

    Attributes:
        checkpoint: the file to pass to `training.fit`.
    """

    checkpoint: Path


@dataclass(frozen=True)
class Outcome:
    """What a trial's function returns: finite numbers, numbers over time, and tensors."""

    metrics: dict[str, float]
    series: dict[str, list[float]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A finished trial, read from its folder.

    Attributes:
        description: `Trial.describe()`.
        metrics, series: as the function returned them.
        provenance: commit, versions, hardware, wall time in seconds.
    """

    digest: str
    folder: Path
    description: dict[str, Any]
    metrics: dict[str, float]
    series: dict[str, list[float]]
    provenance: dict[str, Any]
    tensors_sha256: str

    def tensors(self) -> dict[str, Tensor]:
        """The trial's tensors, verified against their digest.

        Raises:
            ValueError: if the file is damaged or missing.
            OSError: if it cannot be read.
        """
        path = self.folder / "tensors.safetensors"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        found = hashlib.sha256(content).hexdigest()
        if found != self.tensors_sha256:
            raise ValueError(
                f"{path} is damaged (SHA-256 {found}, expected {self.tensors_sha256}): "
                f"`kdnb trials prune {self.digest}` removes it, and the next run makes it again."
            )
        return tensors_of(content)


def described(description: dict[str, Any]) -> Trial:
    """The trial of a description: the inverse of `Trial.describe`."""
    return Trial(**{**description, "arguments": _decode(description["arguments"])})


def _encode(value: Any) -> Any:
    if isinstance(value, Trial):
        return {"trial": value.describe()}
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"trial"} and isinstance(value["trial"], dict):
            return described(value["trial"])
        return {key: _decode(item) for key, item in value.items()}
    return [_decode(item) for item in value] if isinstance(value, list) else value


def _trials_in(value: Any) -> Iterator[Trial]:
    if isinstance(value, Trial):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _trials_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _trials_in(item)


def resolved(value: Any, results: dict[str, Result]) -> Any:
    """Arguments in which the trials are replaced by their results, which are given by digest."""
    if isinstance(value, Trial):
        return results[value.digest]
    if isinstance(value, dict):
        return {key: resolved(item, results) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(item, results) for item in value]
    return value
