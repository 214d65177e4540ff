"""What is kept of a run and believed later: safetensors with words beside them, under a digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kdnb.training.identity import of_tensors


class Damaged(ValueError):
    """The bytes are not those that were written."""


class Foreign(Damaged):
    """The bytes were never ours, or an older version wrote them: they must not be overwritten."""


class AnotherRun(ValueError):
    """A checkpoint is sound and belongs to another run; the message says which file, and why."""


def sealed(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> bytes:
    """A safetensors file of tensors, words and the digest of both."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return save(tensors, {**words, "sha256": of_tensors(tensors, words)})


def unsealed(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the words of `sealed`.

    Raises:
        Foreign: when this is a file of another kind, which nobody should overwrite.
        Damaged: when it is one of ours that has changed since.
    """
    try:  # the file begins with the length of its header, which is JSON
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        words = dict(header.get("__metadata__", {}))
        digest = words.pop("sha256", None)
        tensors = load(content)
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError) as error:
        kind = Foreign if _of_another_kind(content) else Damaged
        raise kind(" ".join(str(error).split()) or type(error).__name__) from error
    if digest is None:
        raise Foreign("it carries no digest")
    if digest != of_tensors(tensors, words):
        raise Damaged("its content is not what its digest says")
    return tensors, words


def check_ours(path: Path) -> None:
    """Raises `ValueError` when a file that `sealed` did not make stands where one is to be."""
    try:
        unsealed(path.read_bytes())
    except Foreign as error:
        raise ValueError(
            f"{path} is there and is none of our files ({error}): name another, or delete it."
        ) from error
    except (FileNotFoundError, Damaged):
        pass


def _of_another_kind(content: bytes) -> bool:
    """Text, or whatever begins as no safetensors file does; not one of ours without its head."""
    return any(content[4:8]) and b'"__metadata__"' not in content
