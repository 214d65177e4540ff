"""Sentences in several languages, line by line: a card, the first source that has the files, and one order.

A parallel corpus has a gzipped text file for each split and language; line n of one is the translation of
line n of the other.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdnb.data.cards import Below, Count, DataError, Sha256, card_in, names_in
from kdnb.data.fetch import file_in_folders, from_first_source
from kdnb.data.images import digest
from kdnb.paths import data_cache

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


class ParallelCard(BaseModel):
    """A parallel corpus.

    Attributes:
        name: of the card, and of the folder in the cache.
        languages: their codes, with which file names end (before `.gz`).
        addresses: where the authors publish each split, with `{language}` for the code.
        sizes, sha256: number of lines in each split, and the digest of all lines in our order.
        folders: where the files may be inside a data folder.
        cite: key in papers/references.bib.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    about: str
    languages: Annotated[tuple[str, ...], Field(min_length=2)]
    addresses: dict[Part, Annotated[str, Field(pattern=r"^https://[^/]+/.*\{language\}\.gz$")]]
    sizes: dict[Part, Count]
    sha256: dict[Part, Sha256]
    licence: str
    cite: str
    folders: Annotated[tuple[Below, ...], Field(min_length=1)]


@dataclass(frozen=True, eq=False)
class Parallel:
    """Lines of one split, in the order of their digests: the first n are a random sample.

    Attributes:
        lines: by language, the same number for each.
    """

    lines: dict[str, tuple[str, ...]]
    card: ParallelCard

    def __len__(self) -> int:
        return len(next(iter(self.lines.values())))


def parallel_names() -> tuple[str, ...]:
    """The parallel corpora that have a card."""
    return names_in("parallel")


def parallel_card(name: str) -> ParallelCard:
    """The card of a parallel corpus.

    Raises:
        DataError: if there is no card of this name, or it is malformed.
    """
    return card_in("parallel", ParallelCard, name, "there is no parallel corpus")


def load_parallel(name: str, *, offline: bool = False) -> dict[Part, Parallel]:
    """Load the splits of a parallel corpus from the first source that has it.

    Sources are the cache, the folders of KDNB_DATA_DIRS (the files in one of the card's folders), and
    the authors' addresses, whose files are then kept in the cache.

    Args:
        offline: use only sources on this machine.

    Raises:
        DataError: if the name is unknown, no source has the data, or the data do not match the card.
    """
    card = parallel_card(name)
    return {part: _split(card, part, offline) for part in PARTS}


def _split(card: ParallelCard, part: Part, offline: bool) -> Parallel:
    read: list[list[str]] = []
    for language in card.languages:
        address = card.addresses[part].format(language=language)
        file = address.rpartition("/")[2]
        read.append(
            from_first_source(
                data_cache() / card.name / file,
                partial(file_in_folders, card.folders, [file], _lines), [address], _lines,
                title=card.title, lock=data_cache() / f".{card.name}.lock", ways=_ways(card),
                offline=offline,
            )
        )  # fmt: skip
    if len({len(lines) for lines in read}) > 1:
        raise DataError(f"the {part} files of {card.title} differ in their numbers of lines.")
    records = sorted(
        (hashlib.sha256("\n".join(row).encode("utf-8")).digest(), row)
        for row in zip(*read, strict=True)
    )
    said = digest([key for key, _ in records])
    if (len(records), said) != (card.sizes[part], card.sha256[part]):
        raise DataError(
            f"the {part} lines of {card.title} are others: {len(records)} of SHA-256 {said}, expected "
            f"{card.sizes[part]} of {card.sha256[part]}. {_ways(card)}"
        )
    columns = zip(*(row for _, row in records), strict=True)
    return Parallel(dict(zip(card.languages, columns, strict=True)), card)


def _lines(content: bytes, place: str) -> tuple[list[str], bytes]:
    """The lines of a gzipped file, without spaces at the ends."""
    try:
        text = gzip.decompress(content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{place} is no gzipped text ({error}).") from error
    return [line.strip() for line in text.strip("\n").split("\n")], content


def _ways(card: ParallelCard) -> str:
    some = card.addresses["train"].format(language=card.languages[0])
    return f"put the files such as {some} into {card.folders[0]}/ of a folder that KDNB_DATA_DIRS names."
