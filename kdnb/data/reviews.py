"""Film reviews in the authors' layout: a folder, or its archive, with one file for each review.

The layout is that of Stanford's Large Movie Review Dataset (IMDB): `aclImdb/{train,test}/{pos,neg}/*.txt`.
Reviews without a label (`unsup`) are left out.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from kdnb.data.cards import Below, Count, DataError, card_in, names_in
from kdnb.data.fetch import FAILURES, from_first_source
from kdnb.data.labelled import FILES, Part, Texts, sorted_texts, splits_of
from kdnb.paths import data_cache, data_folders


class ReviewCard(BaseModel):
    """A data set of reviews.

    Attributes:
        name: of the card, and of the folder in the cache.
        classes: the folders of each split, in the order of the labels.
        address, archive, md5: where its authors publish it, the archive's name, and its digest.
        sizes: number of reviews of each class in each split; a folder is verified by these,
            as its digest is not known.
        folders: where the files may be inside a data folder.
        validation: number of training reviews that are held out, the last ones in our order.
        cite: key in papers/references.bib.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    about: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    address: Annotated[str, Field(pattern=r"^https?://[^/]+/.*[^/]$")]
    archive: Below
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    sizes: dict[Part, Count]
    licence: str
    cite: str
    folders: Annotated[tuple[Below, ...], Field(min_length=1)]
    validation: Count

    @property
    def sha256(self) -> dict[str, str]:
        """Digests as in other cards: none are known."""
        return {}


def review_names() -> tuple[str, ...]:
    """The data sets of reviews that have a card."""
    return names_in("reviews")


def review_card(name: str) -> ReviewCard:
    """The card of a data set of reviews.

    Raises:
        DataError: if there is no card of this name, or it is malformed.
    """
    return card_in("reviews", ReviewCard, name, "there are no reviews")


def load_reviews(name: str, *, offline: bool = False) -> dict[Part, Texts]:
    """Load the splits of a data set of reviews from the first source that has it.

    Sources are the archive in the cache, the folders of KDNB_DATA_DIRS (the unpacked folder, or the archive), and the
    authors' address, whose archive is then kept in the cache. An archive is verified by its MD5, a folder by the
    number of its files: digests of single reviews are not known.

    Args:
        offline: use only sources on this machine.

    Raises:
        DataError: if the name is unknown, no source has the data, or the data do not match the card.
    """
    card = review_card(name)

    def here() -> dict[Part, Texts] | None:
        for folder in data_folders():
            for inner in card.folders:
                if (folder / inner / "train").is_dir():
                    return _read(card, _in_folder(card, folder / inner), str(folder / inner))
            if (place := folder / card.archive).is_file():
                return _from_archive(card, place.read_bytes(), str(place))
        return None

    def read(content: bytes, place: str) -> tuple[dict[Part, Texts], bytes]:
        return _from_archive(card, content, place), content

    return from_first_source(
        data_cache() / name / card.archive, here, [card.address], read, title=card.title,
        lock=data_cache() / f".{name}.lock", ways=_ways(card), offline=offline,
    )  # fmt: skip


def _ways(card: ReviewCard) -> str:
    return (
        f"unpack {card.address} into a folder that KDNB_DATA_DIRS names, so that it holds "
        f"{card.folders[0]}/train/{card.classes[0]}/, or put the archive itself there."
    )


def _in_folder(card: ReviewCard, folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """(split, class, content) of every review, in any order."""
    for part in FILES:
        for label in card.classes:
            for path in (folder / part / label).glob("*.txt"):
                yield part, label, path.read_bytes()


def _from_archive(card: ReviewCard, content: bytes, place: str) -> dict[Part, Texts]:
    said = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if said != card.md5:
        raise DataError(f"{place} is not {card.archive}: its MD5 is {said}, expected {card.md5}.")

    def members() -> Iterator[tuple[str, str, bytes]]:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                part, label, name = (["", "", *member.name.split("/")])[-3:]
                if (
                    member.isfile()
                    and part in FILES
                    and label in card.classes
                    and name.endswith(".txt")
                ):
                    yield part, label, archive.extractfile(member).read()  # type: ignore[union-attr]

    try:
        return _read(card, members(), place)
    except FAILURES as error:
        raise DataError(f"{place} is no archive of reviews ({error}).") from error


def _read(
    card: ReviewCard, files: Iterator[tuple[str, str, bytes]], place: str
) -> dict[Part, Texts]:
    """Count, sort and split."""
    found: dict[str, list[tuple[str, int]]] = {part: [] for part in FILES}
    for part, name, content in files:
        label = card.classes.index(name)
        try:
            review = content.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise DataError(f"a review of {place} is no UTF-8 ({error}).") from error
        found[part].append((review, label))
    for part, records in found.items():
        for label, name in enumerate(card.classes):
            count = sum(own == label for _, own in records)
            if count != card.sizes[part]:
                raise DataError(
                    f"{place} holds {count} {part} reviews of {name}, expected {card.sizes[part]}. {_ways(card)}"
                )
    return splits_of(*(sorted_texts(found[part], card)[0] for part in FILES))
