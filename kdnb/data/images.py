"""Labelled images in memory, their canonical order, and the digest that identifies them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from kdnb.data.cards import Card
    from kdnb.data.own_images import Normal


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images.

    Attributes:
        images: (N, C, H, W) uint8, 0 to 255.
        labels: (N,) int64.
        card: the card of their data set, whose `mean` and `sd` normalise them, or the values that
            `own_images` measured on your images; None for images that are not normalised.

    Raises:
        ValueError: for a wrong shape or type, or if the lengths differ.
    """

    images: Tensor
    labels: Tensor
    card: Card | Normal | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise ValueError(
                "images must be a uint8 tensor (N, C, H, W), not "
                f"{self.images.dtype} {tuple(self.images.shape)}."
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be an int64 tensor ({len(self.images)},), not "
                f"{self.labels.dtype} {tuple(self.labels.shape)}."
            )

    def __len__(self) -> int:
        return len(self.images)

    def select(self, where: Tensor | slice) -> Images:
        """Some of the images: a boolean mask (N,), int64 positions in any order, or a slice."""
        if not isinstance(where, slice):
            where = torch.as_tensor(where, device=self.images.device)
            if where.dtype == torch.bool and where.shape != self.labels.shape:
                raise ValueError(f"the mask needs {len(self)} entries, not {tuple(where.shape)}.")
        return Images(self.images[where], self.labels[where], self.card)

    def to(self, device: torch.device | str) -> Images:
        """The images on a device; no copy if they are already there."""
        return Images(self.images.to(device), self.labels.to(device), self.card)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Inputs (N, C, H, W) float32 and labels (N,) int64, for a training loop of your own.

        Inputs are normalised by the card's mean and standard deviation, as in every training function;
        without a card they lie between 0 and 1.
        """
        pixels = self.images.float()
        if self.card is None:
            return pixels / 255, self.labels
        ratio = list(zip(self.card.mean, self.card.sd, strict=True))
        scale = torch.tensor([1 / (255 * sd) for _, sd in ratio], device=pixels.device)
        shift = torch.tensor([-mean / sd for mean, sd in ratio], device=pixels.device)
        pixels = pixels * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
        return pixels, self.labels

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the sorted SHA-256s of the records: independent of their order."""
        return digest(record_digests(self.images.cpu().numpy(), self.labels.cpu().numpy()))


def record_digests(images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    """The SHA-256 of every record: its label as one byte, then its image (C, H, W) uint8.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) integers within 0 and 255.
    """
    pixels = np.ascontiguousarray(images).reshape(len(images), -1)
    tags = [bytes([label]) for label in range(256)]
    found = []
    for label, row in zip(labels.tolist(), pixels, strict=True):
        record = hashlib.sha256(tags[label])
        record.update(row)
        found.append(record.digest())
    return found


def digest(records: list[bytes]) -> str:
    """The digest of a set of records, from their own digests in any order."""
    return hashlib.sha256(b"".join(sorted(records))).hexdigest()


def canonical(images: np.ndarray, labels: np.ndarray, records: list[bytes]) -> Images:
    """The images sorted by the digests of their records: one order for all sources of a data set.

    The order does not depend on what the images show, so the first n are always a random sample.
    """
    kept = torch.from_numpy(np.ascontiguousarray(images))
    names = torch.from_numpy(np.ascontiguousarray(labels).astype(np.int64))
    order = sorted(range(len(records)), key=records.__getitem__)
    if order == list(range(len(records))):
        return Images(kept, names)
    index = torch.tensor(order)
    return Images(kept[index], names[index])
