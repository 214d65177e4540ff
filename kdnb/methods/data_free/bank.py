"""A bank of synthetic images: made once, inspected, saved, and reused for any student."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdnb.data.batches import Batch, mixed_seed
from kdnb.data.loaders import LoaderBatches
from kdnb.methods.data_free.collapse import class_balance, diversity
from kdnb.paths import atomic_write
from kdnb.training.borrowed import evaluating
from kdnb.training.checkpoint import Damaged, check_ours, sealed, unsealed


@dataclass(frozen=True, eq=False)
class Bank:
    """Synthetic images and the teacher's logits for them.

    Attributes:
        images: (N, C, H, W) float32, normalised as the teacher expects them.
        logits: (N, classes) float32, of the teacher.
        origin: how they were made, as JSON values.

    Raises:
        ValueError: if the shapes do not match.
    """

    images: Tensor
    logits: Tensor
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.logits.ndim != 2 or len(self.images) != len(self.logits):
            raise ValueError(
                "a bank needs images (N, C, H, W) and logits (N, classes); got "
                f"{tuple(self.images.shape)} and {tuple(self.logits.shape)}."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> Tensor:
        """The teacher's class for each image, (N,) int64."""
        return self.logits.argmax(1)

    def histogram(self) -> Tensor:
        """The number of images that the teacher assigns to each class, (classes,) int64."""
        return torch.bincount(self.labels, minlength=self.logits.shape[1])

    def summary(self) -> dict[str, float]:
        """`images`, and `class_balance`, `diversity` and `confidence` as in `CollapseDetector`."""
        return {
            "images": float(len(self)),
            "class_balance": class_balance(self.histogram()),
            "diversity": float(diversity(self.images)),
            "confidence": float(F.softmax(self.logits, 1).amax(1).mean()),
        }

    def examples(self, per_class: int) -> list[Tensor]:
        """The teacher's most confident images, for each class (at most per_class, C, H, W)."""
        surest = F.softmax(self.logits, 1).amax(1).argsort(descending=True)
        named = self.labels[surest]
        return [
            self.images[surest[named == label][:per_class]] for label in range(self.logits.shape[1])
        ]

    def batches(self, batch_size: int, *, seed: int = 0) -> BankBatches:
        """Batches for `offline.distil` and `training.fit`, in a new order in every epoch."""
        return BankBatches(self, batch_size, seed=seed)

    def save(self, path: Path) -> None:
        """Write it atomically to one safetensors file with a digest.

        Raises:
            ValueError: if a different file is there.
            OSError: if it cannot be written.
        """
        check_ours(path)
        tensors = {"images": self.images, "logits": self.logits}
        about = {"origin": json.dumps(dict(self.origin), sort_keys=True)}
        atomic_write(path, sealed(tensors, about))

    @classmethod
    def load(cls, path: Path) -> Bank:
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is not a bank, or damaged.
            OSError: if it cannot be read.
        """
        try:
            tensors, about = unsealed(path.read_bytes())
            return cls(tensors["images"], tensors["logits"], json.loads(about["origin"]))
        except (Damaged, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is no bank of images, or damaged: {error}.") from error


class BankBatches(LoaderBatches):
    """Shuffled batches of a bank; labels are the teacher's, `index` is the position in the bank."""

    def __init__(self, bank: Bank, batch_size: int, *, seed: int = 0):
        if batch_size < 1 or len(bank) == 0:
            raise ValueError(f"batches of {batch_size} out of {len(bank)} images cannot be made.")
        super().__init__(range(-(-len(bank) // batch_size)), seed=seed)
        self.bank, self.batch_size = bank, batch_size

    @property
    def examples(self) -> int:
        """The number of images."""
        return len(self.bank)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, a function of (seed, number) alone."""
        stream = torch.Generator().manual_seed(mixed_seed(self.seed, number, "bank"))
        labels = self.bank.labels
        for index in torch.randperm(len(self.bank), generator=stream).split(self.batch_size):
            yield Batch(self.bank.images[index], labels[index], index)


def bank_of(images: Tensor, teacher: nn.Module, origin: Mapping[str, Any] | None = None) -> Bank:
    """A bank of these images (N, C, H, W), with the teacher's logits in eval mode and float32."""
    device = next(teacher.parameters()).device
    with evaluating(teacher), torch.no_grad():
        logits = [teacher(part.to(device)).float().cpu() for part in images.split(1000)]
    return Bank(images.float().cpu(), torch.cat(logits), origin or {})
