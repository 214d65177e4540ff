"""Labelled sentences: a card, the first source that has the files, and one order for all sources.

A data set of sentences is two text files with one sentence a line, its label in front of it:
`LABEL sentence`, or `LABEL:finer sentence`, of which the part before the colon counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kdnb.data.cards import Below, Count, DataError, Sha256, card_in, names_in
from kdnb.data.fetch import kept_or_fetched, taken_away_if_damaged
from kdnb.data.images import digest
from kdnb.names import brief
from kdnb.paths import data_cache, data_folders

if TYPE_CHECKING:
    from kdnb.data.reviews import ReviewCard

Part = Literal["train", "validation", "test"]
FILES: tuple[Part, ...] = ("train", "test")  # validation is a part of train


class TextFile(BaseModel):
    """One file of sentences.

    Attributes:
        address: where its authors publish it.
        files: names under which it may lie in a data folder.
        size, sha256: how many sentences, and the digest of all of them in their order here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[str, Field(pattern=r"^https://[^/]+/.*[^/]$")]
    files: Annotated[tuple[Below, ...], Field(min_length=1)]
    size: Count
    sha256: Sha256


class TextCard(BaseModel):
    """A data set of labelled sentences.

    Attributes:
        name: of the card, and of the folder in the cache.
        classes: the labels as the files have them.
        folders: in which the files may lie inside a data folder.
        validation: so many of the training sentences, the last ones in our order, are held out.
        cite: key in papers/references.bib.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    about: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    encoding: Literal["utf-8", "latin-1"]
    licence: str
    cite: str
    folders: Annotated[tuple[Below, ...], Field(min_length=1)]
    validation: Count
    train: TextFile
    test: TextFile

    @property
    def sha256(self) -> dict[str, str]:
        """The digest of each file, as the cards of images have it."""
        return {part: getattr(self, part).sha256 for part in FILES}


@dataclass(frozen=True, eq=False)
class Texts:
    """Sentences of one split, in the order of their digests: any first n are a random sample.

    Attributes:
        sentences: as the file has them.
        labels: (N,) int64.
    """

    sentences: tuple[str, ...]
    labels: Tensor
    card: TextCard | ReviewCard

    def __len__(self) -> int:
        return len(self.sentences)


def text_names() -> tuple[str, ...]:
    """The data sets of sentences that have a card."""
    return names_in("texts")


def text_card(name: str) -> TextCard:
    """The card of a data set of sentences.

    Raises:
        DataError: when there is none of this name, or it is malformed.
    """
    return card_in("texts", TextCard, name, "there are no sentences")


def load_texts(name: str, *, offline: bool = False) -> dict[Part, Texts]:
    """The splits of a data set of sentences, from the first source that has it.

    Sources are the cache, the folders of KDNB_DATA_DIRS (the files in one of the card's folders),
    and the authors' addresses, whose files are then kept in the cache. Reviews ("imdb") have sources of their own,
    see :func:`kdnb.data.reviews.load_reviews`.

    Args:
        offline: look on this machine only.

    Raises:
        DataError: when the name is unknown, no source has the data, or what it has is another.
    """
    from kdnb.data import reviews  # which needs this module

    if name in reviews.review_names():
        return reviews.load_reviews(name, offline=offline)
    card, cache = text_card(name), data_cache() / name
    found: dict[str, Texts] = {}
    for part in FILES:
        about: TextFile = getattr(card, part)
        kept = cache / about.files[0]
        places = (
            folder / inner / file
            for folder in data_folders()
            for inner in card.folders
            for file in about.files
        )
        here = next((place for place in places if place.is_file()), None)
        if kept.is_file():
            with taken_away_if_damaged(kept):
                found[part] = _read(card, part, kept.read_bytes(), str(kept))
        elif here is not None:
            found[part] = _read(card, part, here.read_bytes(), str(here))
        elif offline:
            raise DataError(f"no source on this machine has {card.title}: {_ways(card)}")
        else:

            def read(content: bytes, place: str, part: str = part) -> tuple[Texts, bytes]:
                return _read(card, part, content, place), content

            found[part] = kept_or_fetched(
                kept, [about.address], read, title=card.title,
                lock=cache.parent / f".{name}.lock", ways=_ways(card),
            )  # fmt: skip
    train, end = found["train"], len(found["train"]) - card.validation
    return {
        "train": Texts(train.sentences[:end], train.labels[:end], card),
        "validation": Texts(train.sentences[end:], train.labels[end:], card),
        "test": found["test"],
    }


def _ways(card: TextCard) -> str:
    return (
        f"put the files {card.train.address} and {card.test.address} into {card.folders[0]}/ of a "
        "folder that KDNB_DATA_DIRS names."
    )


def _read(card: TextCard, part: str, content: bytes, place: str) -> Texts:
    """Read, sort and verify one file."""
    records: list[tuple[bytes, str, int]] = []
    try:
        lines = content.decode(card.encoding).splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is no text in {card.encoding} ({error}).") from error
    for number, line in enumerate(lines, 1):
        label, _, sentence = line.strip().partition(" ")
        label = label.partition(":")[0]
        if label not in card.classes or not sentence.strip():
            raise DataError(
                f"line {number} of {place} is no sentence of {card.title}: {brief(line)}."
            )
        place_of_label = card.classes.index(label)
        key = hashlib.sha256(bytes([place_of_label]) + sentence.strip().encode("utf-8")).digest()
        records.append((key, sentence.strip(), place_of_label))
    records.sort(key=lambda one: one[0])
    about: TextFile = getattr(card, part)
    said = digest([key for key, *_ in records])
    if (len(records), said) != (about.size, about.sha256):
        raise DataError(
            f"the {part} sentences of {card.title} in {place} are others: {len(records)} of SHA-256 "
            f"{said}, expected {about.size} of {about.sha256}. {_ways(card)}"
        )
    labels = torch.tensor([label for *_, label in records])
    return Texts(tuple(sentence for _, sentence, _ in records), labels, card)
