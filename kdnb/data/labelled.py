"""Labelled texts of any source: one canonical order, and splits that are the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from kdnb.data.images import digest

if TYPE_CHECKING:
    from kdnb.data.reviews import ReviewCard
    from kdnb.data.texts import TextCard

Part = Literal["train", "validation", "test"]
FILES: tuple[Part, ...] = ("train", "test")  # validation is a part of train


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of one split, in the order of their digests: the first n are a random sample.

    Attributes:
        sentences: as in the source.
        labels: (N,) int64.
    """

    sentences: tuple[str, ...]
    labels: Tensor
    card: TextCard | ReviewCard

    def __len__(self) -> int:
        return len(self.sentences)


def sorted_texts(
    records: Iterable[tuple[str, int]], card: TextCard | ReviewCard
) -> tuple[Texts, str]:
    """Texts with their labels in the order of their digests, and the SHA-256 over all digests."""
    keyed = sorted(
        (hashlib.sha256(bytes([label]) + text.encode("utf-8")).digest(), text, label)
        for text, label in records
    )
    labels = torch.tensor([label for *_, label in keyed])
    found = Texts(tuple(text for _, text, _ in keyed), labels, card)
    return found, digest([key for key, *_ in keyed])


def splits_of(train: Texts, test: Texts) -> dict[Part, Texts]:
    """Training, validation and test; validation is the last part of the training texts."""
    card, end = train.card, len(train) - train.card.validation
    return {
        "train": Texts(train.sentences[:end], train.labels[:end], card),
        "validation": Texts(train.sentences[end:], train.labels[end:], card),
        "test": test,
    }
