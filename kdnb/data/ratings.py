"""Ratings: a card, the first source that has the files, and one order for all sources.

A data set of ratings records which user gave which item how many stars, and when, with a few facts about
users and items. It is read from the authors' files (`u.data`, `u.user`, `u.item`) or from RecBole's tables
with named columns.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kdnb.data.cards import Below, Count, DataError, Sha256, card_in, names_in
from kdnb.data.fetch import DAMAGED_ZIP, file_in_folders, from_first_source
from kdnb.paths import data_cache, data_folders

OFFICIAL = ("u.data", "u.user", "u.item")
TABLES = ("inter", "user", "item")
Read = Callable[[str], bytes]


class RatingCard(BaseModel):
    """A data set of ratings.

    Attributes:
        name: of the card, and of the folder or archive that holds the files.
        genres: genres of items, in the order of the authors' columns.
        occupations: occupations of users.
        users, items, ratings: their numbers.
        sha256: digest of all ratings and facts in our order, the same for every source.
        folders: where the files may be inside a data folder.
        archive: the address of the authors' zip archive.
        cite: key in papers/references.bib.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    title: str
    about: str
    genres: Annotated[tuple[str, ...], Field(min_length=1)]
    occupations: Annotated[tuple[str, ...], Field(min_length=1)]
    users: Count
    items: Count
    ratings: Count
    sha256: dict[str, Sha256]
    licence: str
    cite: str
    folders: Annotated[tuple[Below, ...], Field(min_length=1)]
    archive: Annotated[str, Field(pattern=r"^https://[^/]+/.*[^/]$")]


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings in order of time; users and items are numbered from 0.

    Attributes:
        users, items, stars, times: (ratings,) int64; times are seconds since 1970.
        ages: (users,) int64. genders: (users,) int64, 0 for F and 1 for M.
            occupations: (users,) int64, positions in the card's list.
        genres: (items, genres) booleans.
    """

    users: Tensor
    items: Tensor
    stars: Tensor
    times: Tensor
    ages: Tensor
    genders: Tensor
    occupations: Tensor
    genres: Tensor
    card: RatingCard

    def __len__(self) -> int:
        return len(self.stars)


def rating_names() -> tuple[str, ...]:
    """The data sets of ratings that have a card."""
    return names_in("ratings")


def rating_card(name: str) -> RatingCard:
    """The card of a data set of ratings.

    Raises:
        DataError: if there is no card of this name, or it is malformed.
    """
    return card_in("ratings", RatingCard, name, "there are no ratings")


def load_ratings(name: str, *, offline: bool = False) -> Ratings:
    """Load a data set of ratings from the first source that has it.

    Sources are the cache, the folders of KDNB_DATA_DIRS (the files in one of the card's folders, or `<name>.zip`), and
    the authors' archive, which is then kept in the cache.

    Args:
        offline: use only sources on this machine.

    Raises:
        DataError: if the name is unknown, no source has the data, or the data do not match the card.
    """
    card, cache = rating_card(name), data_cache()

    def read(content: bytes, place: str) -> tuple[Ratings, bytes]:
        return _from_zip(card, content, place), content

    def here() -> Ratings | None:
        if (found := file_in_folders(["."], [f"{name}.zip"], read)) is not None:
            return found
        places = (folder / inner for folder in data_folders() for inner in card.folders)
        each = (_from_folder(card, place) for place in places)
        return next((found for found in each if found is not None), None)

    return from_first_source(
        cache / f"{name}.zip", here, [card.archive], read, title=card.title,
        lock=cache / f".{name}.lock", ways=_ways(card), offline=offline,
    )  # fmt: skip


def _ways(card: RatingCard) -> str:
    return (
        f"put the files of {card.archive} into {card.folders[0]}/ of a folder that KDNB_DATA_DIRS "
        f"names, or the archive itself as {card.name}.zip."
    )


def _from_zip(card: RatingCard, content: bytes, place: str) -> Ratings:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = {Path(one).name: one for one in archive.namelist()}
            if missing := [name for name in OFFICIAL if name not in inside]:
                raise DataError(f"{place} has no {missing[0]}: {_ways(card)}")
            return _read(card, lambda name: archive.read(inside[name]), OFFICIAL, place)
    except DAMAGED_ZIP as error:
        raise DataError(f"{place} is no zip archive ({error}): {_ways(card)}") from error


def _from_folder(card: RatingCard, folder: Path) -> Ratings | None:
    for names in (OFFICIAL, tuple(f"{card.name}.{one}" for one in TABLES)):
        if all((folder / name).is_file() for name in names):
            return _read(card, lambda name: (folder / name).read_bytes(), names, str(folder))
    return None


def _read(card: RatingCard, read: Read, names: tuple[str, ...], place: str) -> Ratings:
    official = names == OFFICIAL
    try:
        ratings = [_numbers(row[:4]) for row in _rows(read(names[0]), "\t", not official)]
        people = _rows(read(names[1]), "|" if official else "\t", not official)
        things = _rows(read(names[2]), "|" if official else "\t", not official)
        facts = {int(row[0]): (int(row[1]), "FM".index(row[2]), card.occupations.index(row[3])) for row in people}  # fmt: skip
        kinds = {int(row[0]): _kinds(card, row, official) for row in things}
        table = np.array(sorted(ratings, key=lambda one: (one[3], one[0], one[1])), dtype=np.int64)
        users = np.array([facts[n] for n in range(1, card.users + 1)], dtype=np.int64)
        items = np.array([kinds[n] for n in range(1, card.items + 1)], dtype=bool)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise DataError(
            f"{place} holds no ratings of {card.title} ({error!r}): {_ways(card)}"
        ) from error
    said = hashlib.sha256(
        table.astype("<i4").tobytes() + users.astype("<i4").tobytes() + np.packbits(items).tobytes()
    ).hexdigest()
    if len(table) != card.ratings or said != card.sha256["ratings"]:
        raise DataError(
            f"the ratings of {card.title} in {place} are others: {len(table)} of SHA-256 {said}, expected "
            f"{card.ratings} of {card.sha256['ratings']}. {_ways(card)}"
        )
    columns: dict[str, Any] = {
        "users": table[:, 0] - 1, "items": table[:, 1] - 1, "stars": table[:, 2], "times": table[:, 3],
        "ages": users[:, 0], "genders": users[:, 1], "occupations": users[:, 2], "genres": items,
    }  # fmt: skip
    return Ratings(
        **{name: torch.from_numpy(one.copy()) for name, one in columns.items()}, card=card
    )


def _rows(content: bytes, comma: str, headed: bool) -> list[list[str]]:
    lines = content.decode("utf-8" if headed else "latin-1").splitlines()[int(headed) :]
    return [line.split(comma) for line in lines if line]


def _numbers(row: list[str]) -> list[int]:
    return [int(float(one)) for one in row]


def _kinds(card: RatingCard, row: list[str], official: bool) -> list[bool]:
    if official:
        flags = row[-len(card.genres) :]
        if set(flags) - {"0", "1"}:
            raise ValueError(f"the genres of item {row[0]} are no flags")
        return [flag == "1" for flag in flags]
    named = row[3].split()
    if unknown := set(named) - set(card.genres):
        raise ValueError(f"there is no genre {min(unknown)!r}")
    return [genre in named for genre in card.genres]
