"""Trained networks shipped with the workbook, each with a card that says how it was made.

The weights are in `data/checkpoints/<dataset>/<name>.safetensors`, the card is beside them in
`<name>.toml`. `tools/make_checkpoints.py` makes both.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, load_model
from torch import nn

from kdnb.names import nearest, refused
from kdnb.paths import root


class CheckpointError(ValueError):
    """A checkpoint is unknown or damaged; the message says which and what to do."""


class CheckpointCard(BaseModel):
    """What a trained network is, and how it was made.

    Attributes:
        network: the arguments of `nets.build`, with its `name`.
        dataset: the data set whose images it takes, normalised by that data set's `mean` and `sd`.
        data_sha256: digest of the training images, as in the data set's card.
        split: `train` leaves out the validation images, `train_all` does not.
        recipe: the fields of `kdnb.training.Recipe`.
        cycles: how often the recipe was run, each time from the previous run's weights.
        seed, commit, run: of the training; `run` is the digest of its description.
        train_errors, train_images, test_errors, test_images: after the last epoch, with the weights
            as stored.
        sha256: digest of the weights file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    network: dict[str, Any]
    dataset: str
    data_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    split: str
    recipe: dict[str, Any]
    cycles: Annotated[int, Field(ge=1, strict=True)] = 1
    seed: Annotated[int, Field(strict=True)]
    commit: str
    run: str
    train_errors: int = Field(ge=0, strict=True)
    train_images: int = Field(ge=1, strict=True)
    test_errors: int = Field(ge=0, strict=True)
    test_images: int = Field(ge=1, strict=True)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _shares(self) -> CheckpointCard:
        for part in ("train", "test"):
            errors, images = getattr(self, f"{part}_errors"), getattr(self, f"{part}_images")
            if errors > images:
                raise ValueError(f"{part}_errors ({errors}) is above {part}_images ({images})")
        return self

    @property
    def test_error(self) -> float:
        """The share of misclassified test images."""
        return self.test_errors / self.test_images

    @property
    def train_error(self) -> float:
        """The share of misclassified training images."""
        return self.train_errors / self.train_images


def pretrained_names() -> list[tuple[str, str]]:
    """(network, data set) of every trained network shipped with the workbook."""
    cards = sorted(folder().glob("*/*.toml"))
    return [(card.stem, card.parent.name) for card in cards]


def folder() -> Path:
    """The folder with the checkpoints."""
    return root() / "data" / "checkpoints"


def card_of(name: str, dataset: str) -> CheckpointCard:
    """The card of a trained network.

    Raises:
        CheckpointError: if there is no such checkpoint (lists those that exist), or its card
            cannot be read.
    """
    if (name, dataset) not in pretrained_names():
        known = [f"{one} on {of}" for one, of in pretrained_names()]
        raise CheckpointError(
            f"there is no trained {name} on {dataset} ({nearest(f'{name} on {dataset}', known)}); "
            "kdnb.train makes one of your own."
        )
    path = folder() / dataset / f"{name}.toml"
    try:
        return CheckpointCard(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        said = refused(error) if isinstance(error, ValidationError) else str(error)
        raise CheckpointError(
            f"{path} is damaged ({said.rstrip('.')}): restore it from git, or run "
            "tools/make_checkpoints.py."
        ) from error


def restore(name: str, dataset: str) -> tuple[dict[str, torch.Tensor], CheckpointCard]:
    """The weights of a trained network in float32, and its card.

    Raises:
        CheckpointError: for an unknown name, or a file that does not match its card.
    """
    card = card_of(name, dataset)
    path = folder() / dataset / f"{name}.safetensors"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    if (found := hashlib.sha256(content).hexdigest()) != card.sha256:
        raise CheckpointError(
            f"{path} is damaged or missing (SHA-256 {found}, expected {card.sha256}): restore it "
            "from git, or run tools/make_checkpoints.py."
        )
    weights = load(content)
    return {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}, card


def stored(network: nn.Module) -> dict[str, torch.Tensor]:
    """A network's weights as stored in a checkpoint: matrices and kernels in half precision."""
    return {
        name: (value.half() if value.is_floating_point() and value.ndim > 1 else value)
        .detach()
        .cpu()
        .contiguous()
        for name, value in network.state_dict().items()
    }


def load_weights(network: nn.Module, path: Path | str) -> nn.Module:
    """Load the weights of a `.safetensors` file, such as one written by `kdnb.export`, into a network.

    Returns:
        The network, in its former mode.

    Raises:
        CheckpointError: if there is no such file, it is damaged, or belongs to another network.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}.")
    try:
        load_model(network, path)
    except (SafetensorError, OSError) as error:
        said = "files of torch.save are not read: write them anew by safetensors.torch.save_model"
        raise CheckpointError(
            f"{path} is no .safetensors file ({error}); {said}, or load them yourself."
        ) from error
    except RuntimeError as error:
        said = " ".join(str(error).split())[:300].rstrip(".")
        raise CheckpointError(f"{path} holds the weights of another network: {said}.") from error
    return network
