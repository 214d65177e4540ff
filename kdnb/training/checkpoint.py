"""Trusted files of a run: safetensors with text metadata, sealed with a digest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from kdnb.names import brief
from kdnb.progress import note
from kdnb.training.identity import of_function, of_tensors, passing_buffers


class Damaged(ValueError):
    """The bytes are not those that were written."""


class Foreign(Damaged):
    """The file is not ours, or an older version wrote it: it must not be overwritten."""


class AnotherRun(ValueError):
    """A checkpoint is intact but belongs to another run; the message says which file, and why."""


def file_of(checkpoint: Any, number: int | None = None) -> Path | None:
    """The path of a checkpoint; None if none is requested.

    Args:
        number: the number of the run among several in a row, which is added to the file's name.

    Raises:
        TypeError: for a value that is not a path.
        ValueError: for a folder.
    """
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, (str, os.PathLike)) or not str(checkpoint):
        raise TypeError(f"checkpoint is the path of a file; got {brief(checkpoint)}.")
    path = Path(checkpoint)
    if path.parts[:1] == ("~",):  # a shell would expand it; Python does not
        path = path.expanduser()
    if number is not None:
        path = path.with_name(f"{path.name}.{number}")
    try:
        path.lstat()  # unlike `is_dir` and `exists`, this raises for impossible names
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # reported when the folder is checked
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"checkpoint is the path of a file, and no file is called {brief(str(path))} ({why})."
        ) from error
    if os.path.isdir(path):
        raise ValueError(
            f"checkpoint is the path of a file, and {path} is a folder: name a file in it."
        )
    if os.path.exists(path) and not os.path.isfile(path):  # reading it may never end
        raise ValueError(
            f"checkpoint is the path of a file, and {path} is a device or a pipe: name another."
        )
    return path


def another(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """How a checkpoint's run differs from ours, and what to do; empty if it does not."""
    others = [name for name in ours if theirs.get(name) != ours[name]]
    if not others:
        return ""
    differ = f"({', '.join(others)} differ)"
    if "weights" in others and set(others) <= {"weights", "data"}:
        return (
            f"{differ}: a run goes on with its own data, networks and initial weights. Build all as "
            "the first time, after torch.manual_seed with the same seed; for a new run name another file."
        )
    if others == ["recipe"]:
        there, here = theirs.get("recipe") or {}, ours["recipe"]
        fields = [name for name in here if there.get(name) != here[name]]
        shown = ", ".join(
            f"{name} {there.get(name)} there and {here[name]} here" for name in fields
        )
        if fields == ["epochs"]:
            return (
                f"({shown}): its schedule ends there. Call it with epochs={there.get('epochs')} and "
                "this file, which brings the trained weights back, then train these networks on "
                "with another file."
            )
        return f"({shown}): give the recipe of that run, or name another file."
    return f"{differ}: name another file, or delete this one if nobody needs it."


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """All numbers of a network by name: its `state_dict`, and its non-persistent buffers."""
    return {**network.state_dict(), **passing_buffers(network)}


def take_state(
    network: nn.Module, state: Mapping[str, Tensor], device: torch.device | str = "cpu"
) -> None:
    """Load the result of `state_of` into a network."""
    known = network.state_dict().keys()
    network.load_state_dict({name: value for name, value in state.items() if name in known})
    for name in state.keys() - known:
        path, _, buffer = name.rpartition(".")
        network.get_submodule(path)._buffers[buffer] = state[name].to(device)


class Held(nn.Module):
    """The buffers of a loss without trainable parameters, for the checkpoint; its mode stays."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = [loss]  # in a list, so that it is not a submodule

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.loss[0].state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.loss[0].load_state_dict(*args, **kwargs)


def held_of(losses: Mapping[str, Any], checkpoint: Any, fabric: Any) -> dict[str, nn.Module]:
    """Buffers that a checkpoint keeps for losses without trainable parameters, such as a running mean.

    With several processes it keeps none, since each would need its own.
    """
    if checkpoint is None or getattr(fabric, "world_size", 1) > 1:
        return {}
    return {
        name: Held(loss)
        for name, loss in losses.items()
        if isinstance(loss, nn.Module) and next(loss.buffers(), None) is not None
    }


def note_state(losses: Mapping[str, tuple[Any, str]]) -> None:
    """Print a note for each loss whose state a checkpoint cannot keep.

    Args:
        losses: the losses by name, each with its digest before the run.
    """
    for name, (loss, before) in losses.items():
        if not isinstance(loss, nn.Module) and of_function(loss) != before:
            note(
                f"the loss {name} remembers what the checkpoint does not keep, and a run that goes on "
                "begins without: make it a torch module and what it remembers buffers."
            )


def sealed(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> bytes:
    """A safetensors file of tensors, text metadata and the digest of both."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return save(tensors, {**words, "sha256": of_tensors(tensors, words)})


def unsealed(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the text metadata from `sealed`.

    Raises:
        Foreign: for a file of another kind, which must not be overwritten.
        Damaged: for one of our files that has changed since.
    """
    try:  # the file begins with the length of its header, which is JSON
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        words = dict(header.get("__metadata__", {}))
        digest = words.pop("sha256", None)
        tensors = load(content)
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError) as error:
        if _of_another_kind(content):
            raise Foreign("it is a file of another kind") from error
        raise Damaged(" ".join(str(error).split()) or type(error).__name__) from error
    if digest is None:
        raise Foreign("it carries no digest")
    if digest != of_tensors(tensors, words):
        raise Damaged("its content is not what its digest says")
    return tensors, words


def check_ours(path: Path) -> None:
    """Raise `ValueError` if the path holds a file that `sealed` did not make."""
    try:
        unsealed(path.read_bytes())
    except Foreign as error:
        raise ValueError(
            f"{path} is there and is none of our files ({error}): name another, or delete it."
        ) from error
    except (FileNotFoundError, Damaged):
        pass


def _of_another_kind(content: bytes) -> bool:
    """Whether it is text or does not begin like a safetensors file; false for our files without a header."""
    return any(content[4:8]) and b'"__metadata__"' not in content
