"""Labelled sentences: a card, the first source that has the files, and one order for all sources.

A data set of sentences is two text files with one sentence per line, preceded by its label:
`LABEL sentence`, or `LABEL:finer sentence`, of which only the part before the colon is used.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdnb.data import reviews
from kdnb.data.cards import Below, Count, DataError, Sha256, card_in, names_in
from kdnb.data.fetch import file_in_folders, from_first_source
from kdnb.data.labelled import FILES, Part, Texts, sorted_texts, splits_of
from kdnb.names import brief
from kdnb.paths import data_cache

__all__ = ["TextCard", "TextFile", "Texts", "load_texts", "text_card", "text_names"]


class TextFile(BaseModel):
    """One file of sentences.

    Attributes:
        address: where its authors publish it.
        files: names that it may have in a data folder.
        size, sha256: number of sentences, and the digest of all sentences in our order.
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
        classes: the labels as in the files.
        folders: where the files may be inside a data folder.
        validation: number of training sentences that are held out, the last ones in our order.
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
        """The digest of each file, as in the cards of images."""
        return {part: getattr(self, part).sha256 for part in FILES}


def text_names() -> tuple[str, ...]:
    """The data sets of sentences that have a card."""
    return names_in("texts")


def text_card(name: str) -> TextCard:
    """The card of a data set of sentences.

    Raises:
        DataError: if there is no card of this name, or it is malformed.
    """
    return card_in("texts", TextCard, name, "there are no sentences")


def load_texts(name: str, *, offline: bool = False) -> dict[Part, Texts]:
    """Load the splits of a data set of sentences from the first source that has it.

    Sources are the cache, the folders of KDNB_DATA_DIRS (the files in one of the card's folders),
    and the authors' addresses, whose files are then kept in the cache. Reviews ("imdb") have sources of their own,
    see :func:`kdnb.data.reviews.load_reviews`.

    Args:
        offline: use only sources on this machine.

    Raises:
        DataError: if the name is unknown, no source has the data, or the data do not match the card.
    """
    if name in reviews.review_names():
        return reviews.load_reviews(name, offline=offline)
    card, cache = text_card(name), data_cache() / name
    found: dict[str, Texts] = {}
    for part in FILES:
        about: TextFile = getattr(card, part)
        read = partial(_read, card, part)
        found[part] = from_first_source(
            cache / about.files[0], partial(file_in_folders, card.folders, about.files, read),
            [about.address], read, title=card.title, lock=cache.parent / f".{name}.lock",
            ways=_ways(card), offline=offline,
        )  # fmt: skip
    return splits_of(found["train"], found["test"])


def _ways(card: TextCard) -> str:
    return (
        f"put the files {card.train.address} and {card.test.address} into {card.folders[0]}/ of a "
        "folder that KDNB_DATA_DIRS names."
    )


def _read(card: TextCard, part: str, content: bytes, place: str) -> tuple[Texts, bytes]:
    """One file read, sorted and verified, and its content."""
    records: list[tuple[str, int]] = []
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
        records.append((sentence.strip(), card.classes.index(label)))
    about: TextFile = getattr(card, part)
    found, said = sorted_texts(records, card)
    if (len(records), said) != (about.size, about.sha256):
        raise DataError(
            f"the {part} sentences of {card.title} in {place} are others: {len(records)} of SHA-256 "
            f"{said}, expected {about.size} of {about.sha256}. {_ways(card)}"
        )
    return found, content
