"""Recordings: a card, the first source that has the files, and one order for all sources.

A data set of recordings is a folder, or a zip archive, of mono 16-bit wave files named
`{class}_{speaker}_{take}.wav`. The take determines the split, as defined by the authors.
"""

from __future__ import annotations

import hashlib
import io
import wave
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kdnb.data.cards import Below, Count, DataError, Sha256, card_in, names_in
from kdnb.data.fetch import DAMAGED_ZIP, from_first_source
from kdnb.data.images import digest
from kdnb.names import brief
from kdnb.paths import data_cache, data_folders

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


class SoundCard(BaseModel):
    """A data set of recordings.

    Attributes:
        name: of the card, and of the folder or archive that holds the files.
        rate: samples per second.
        takes: for each split, the first take and the one after the last.
        sizes, sha256: size and digest of each split.
        folders: where the wave files may be inside a data folder.
        archive: the address of a zip archive; its bytes may change, but the recordings may not.
        cite: key in papers/references.bib.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    title: str
    about: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    speakers: Annotated[tuple[str, ...], Field(min_length=1)]
    rate: Count
    takes: dict[Part, tuple[int, int]]
    sizes: dict[Part, Count]
    sha256: dict[Part, Sha256]
    licence: str
    cite: str
    folders: Annotated[tuple[Below, ...], Field(min_length=1)]
    archive: Annotated[str, Field(pattern=r"^https://[^/]+/.*[^/]$")]


@dataclass(frozen=True, eq=False)
class Sounds:
    """Recordings of one split, in the order of their digests: the first n are a random sample.

    Attributes:
        waves: each (samples,) int16; lengths differ.
        labels: (N,) int64.
        speakers: (N,) int64, positions in the card's `speakers`.
    """

    waves: tuple[Tensor, ...]
    labels: Tensor
    speakers: Tensor
    card: SoundCard

    def __len__(self) -> int:
        return len(self.waves)

    def padded(self, seconds: float = 1.0) -> Tensor:
        """All as (N, samples) float32 from -1 to 1: short ones padded with silence, long ones cut.

        Args:
            seconds: above 0.
        """
        length = round(seconds * self.card.rate)
        if length < 1:
            raise ValueError(f"seconds must give one sample at least; got {seconds}.")
        made = torch.zeros(len(self), length)
        for row, one in zip(made, self.waves, strict=True):
            row[: len(one)] = one[:length].float() / 32768
        return made


def sound_names() -> tuple[str, ...]:
    """The data sets of recordings that have a card."""
    return names_in("sounds")


def sound_card(name: str) -> SoundCard:
    """The card of a data set of recordings.

    Raises:
        DataError: if there is no card of this name, or it is malformed.
    """
    return card_in("sounds", SoundCard, name, "there are no recordings")


def load_sounds(name: str, *, offline: bool = False) -> dict[Part, Sounds]:
    """Load the splits of a data set of recordings from the first source that has it.

    Sources are the cache, the folders of KDNB_DATA_DIRS (the wave files in one of the card's
    folders, or `<name>.zip`), and the authors' archive, which is then kept in the cache.

    Args:
        offline: use only sources on this machine.

    Raises:
        DataError: if the name is unknown, no source has the data, or the data do not match the card.
    """
    return _loaded(sound_card(name), data_cache(), data_folders(), offline)


def _loaded(
    card: SoundCard, cache: Path, folders: tuple[Path, ...], offline: bool
) -> dict[Part, Sounds]:
    def here() -> dict[Part, Sounds] | None:
        for place in (folder / f"{card.name}.zip" for folder in folders):
            if place.is_file():
                return _read(card, place)
        for folder in folders:
            for inner in card.folders:
                if any((folder / inner).glob("*.wav")):
                    return _read(card, folder / inner)
        return None

    def read(content: bytes, place: str) -> tuple[dict[Part, Sounds], bytes]:
        return _read(card, io.BytesIO(content), place), content

    return from_first_source(
        cache / f"{card.name}.zip", here, [card.archive], read, title=card.title,
        lock=cache / f".{card.name}.lock", ways=_ways(card), offline=offline,
    )  # fmt: skip


def _ways(card: SoundCard) -> str:
    return (
        f"put the files of {card.archive} into {card.folders[0]}/ of a folder that KDNB_DATA_DIRS "
        f"names, or the archive itself as {card.name}.zip."
    )


def _read(
    card: SoundCard, source: Path | io.BytesIO, name_of_source: str = ""
) -> dict[Part, Sounds]:
    """Read, sort and verify all splits."""
    found: dict[Part, list[tuple[bytes, np.ndarray, int, int]]] = {part: [] for part in PARTS}
    for name, content in _files(source, name_of_source or str(source)):
        label, speaker, take = _named(card, name)
        for part, (first, end) in card.takes.items():
            if first <= take < end:
                samples = _samples(card, name, content)
                record = bytes([label]) + card.speakers[speaker].encode() + b"\0"
                key = hashlib.sha256(record + samples.astype("<i2").tobytes()).digest()
                found[part].append((key, samples, label, speaker))
    splits = {}
    for part, records in found.items():
        records.sort(key=lambda one: one[0])
        said = digest([key for key, *_ in records])
        if (len(records), said) != (card.sizes[part], card.sha256[part]):
            raise DataError(
                f"the {part} recordings of {card.title} are others: {len(records)} of SHA-256 {said}, "
                f"expected {card.sizes[part]} of {card.sha256[part]}. {_ways(card)}"
            )
        splits[part] = Sounds(
            tuple(torch.from_numpy(samples.copy()) for _, samples, *_ in records),
            torch.tensor([label for *_, label, _ in records]),
            torch.tensor([speaker for *_, speaker in records]),
            card,
        )
    return splits


def _files(source: Path | io.BytesIO, named: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every wave file in a folder or a zip archive, in any order."""
    if isinstance(source, Path) and source.is_dir():
        for path in source.glob("*.wav"):
            yield path.name, path.read_bytes()
        return
    try:
        with zipfile.ZipFile(source) as archive:
            for member in archive.namelist():
                if member.endswith(".wav"):
                    yield member.rpartition("/")[2], archive.read(member)
    except DAMAGED_ZIP as error:
        raise DataError(f"{named} is no zip archive ({error}).") from error


def _named(card: SoundCard, name: str) -> tuple[int, int, int]:
    """The class, the speaker and the take given by a file's name."""
    try:
        label, speaker, take = name.removesuffix(".wav").split("_")
        return card.classes.index(label), card.speakers.index(speaker), int(take)
    except ValueError as error:
        raise DataError(f"{brief(name)} is no recording of {card.title} ({error}).") from error


def _samples(card: SoundCard, name: str, content: bytes) -> np.ndarray:
    try:
        with wave.open(io.BytesIO(content)) as sound:
            kind = sound.getnchannels(), sound.getsampwidth(), sound.getframerate()
            if kind != (1, 2, card.rate):
                raise DataError(f"{name} is not mono, 16 bits, {card.rate} Hz; it is {kind}.")
            return np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2").astype(np.int16)
    except (wave.Error, EOFError) as error:
        raise DataError(f"{name} is no wave file ({error}).") from error
