"""The cards of the data sets: what each one is, where it comes from, and how it is verified."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kdnb.names import UsageError, brief, nearest, refused
from kdnb.paths import root

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")


class DataError(RuntimeError):
    """A data set is unknown, missing or does not match its card; the message says what to do."""


# What a card may name: relative files and folders, packages by plain names, digests.
Below = Annotated[str, Field(pattern=r"^[\w][\w.+-]*(/[\w][\w.+-]*)*$")]
Plain = Annotated[str, Field(pattern=r"^(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._+-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

# Strict where a bool would be taken for a number.
Count = Annotated[int, Field(strict=True, ge=1)]
Level = Annotated[float, Field(strict=True, ge=0, le=1)]
Spread = Annotated[float, Field(strict=True, gt=0, le=1)]


class UnknownData(DataError, UsageError):
    """There is no card of this name."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Layout(_Part):
    """Files that hold a data set.

    Attributes:
        format: `idx` is the format of MNIST: images, then labels. `records` is the binary format
            of CIFAR: label bytes, of which the last one is used, then the image. `rows` are PNG files
            with one image per row, followed by a JSON list of all labels.
        train, test: names of the files, any of which may be gzipped (.gz).
        label_bytes: of a record.
    """

    format: Literal["idx", "records", "rows"]
    train: tuple[Below, ...]
    test: tuple[Below, ...]
    label_bytes: Count = 1


class Official(Layout):
    """The files as their authors publish them.

    Attributes:
        folders: where the files are inside a data folder, as named by torchvision or by us.
        torchvision: the class of torchvision.datasets that fetches them, or
        archive, md5: the address and digest of a tar archive of them.
        pickled: a folder with the same data in pickled form, which is never read.
    """

    folders: Annotated[tuple[Below, ...], Field(min_length=1)]
    torchvision: Literal["MNIST", "FashionMNIST", "KMNIST"] | None = None
    archive: Annotated[str, Field(pattern=r"^https://[^/]+/.*[^/]$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    pickled: Below | None = None

    @model_validator(mode="after")
    def _whole(self) -> Official:
        if self.archive and not self.md5:
            raise ValueError("an archive needs the digest that its authors publish: md5")
        return self


class Package(Layout):
    """A package of a registry that contains the data; `folder` is where its files are inside."""

    client: Literal["npm", "apt"]
    name: Plain
    version: Annotated[str, Field(pattern=r"^\d[\w.+-]*$")] | None = None
    folder: Below


class Card(_Part):
    """A data set.

    Attributes:
        path: the card's file; a folder of the same name beside it may hold the official files.
        shape: (C, H, W) of an image.
        sizes: images in each split; the last `validation` of train are the validation split.
        mean, sd: of each channel over the training images, on the 0-1 scale.
        sha256: digest of each split, see `Images.digest`.
        file_sha256: digests of single files, gunzipped, to tell which one is damaged.
        cite: key in papers/references.bib.
    """

    path: Path
    title: str
    about: str
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    shape: tuple[Count, Count, Count]
    sizes: dict[Split, Count]
    validation: Annotated[int, Field(strict=True, ge=0)]
    mean: tuple[Level, ...]
    sd: tuple[Spread, ...]
    sha256: dict[Split, Sha256]
    licence: str
    cite: str
    official: Official
    package: Package | None = None
    file_sha256: dict[str, Sha256] = {}

    @model_validator(mode="after")
    def _whole(self) -> Card:
        for name in ("sizes", "sha256"):
            if missing := set(SPLITS) - set(getattr(self, name)):
                raise ValueError(f"{name} has no entry {min(missing)!r}")
        for name in ("mean", "sd"):
            if len(getattr(self, name)) != self.shape[0]:
                raise ValueError(f"{name} must have a number for each of {self.shape[0]} channels")
        if self.validation >= self.sizes["train"]:
            raise ValueError("validation leaves no training image")
        return self

    @property
    def name(self) -> str:
        """The data set's name in code, on the command line and in file names."""
        return self.path.stem


def names() -> tuple[str, ...]:
    """The names of all data sets that have a card."""
    return tuple(sorted(path.stem for path in (root() / "data").glob("*.toml")))


def card(name: str) -> Card:
    """The card of a data set.

    Raises:
        DataError: if there is no card of this name (names the nearest one), or it is malformed.
    """
    known = names()
    if name not in known:
        wanted = str(name)[:200].lower().replace("-", "_")
        near = difflib.get_close_matches(wanted, known, 1) or difflib.get_close_matches(
            wanted.replace("_", ""), known, 1
        )
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownData(
            f"there is no data set {brief(name)}: {hint}There are {', '.join(known)}; a new one is "
            "a card in data/."
        )
    return read_card(root() / "data" / f"{name}.toml")


def read_card(path: Path) -> Card:
    """The card in a file."""
    return _read(path, Card, {"path": path})


# --- cards of other kinds: recordings, sentences, graphs -------------------------------------------

Model = TypeVar("Model", bound=BaseModel)


def names_in(folder: str) -> tuple[str, ...]:
    """The names of the cards in a folder of data/, such as `sounds`."""
    return tuple(sorted(path.stem for path in (root() / "data" / folder).glob("*.toml")))


def card_in(folder: str, model: type[Model], name: str, missing: str) -> Model:
    """A card in a folder of data/.

    Args:
        model: has a field `name`.
        missing: how the message about an unknown name begins, such as "there is no graph".

    Raises:
        UnknownData: if there is no card of this name; names the nearest one.
        DataError: if it is malformed.
    """
    known = names_in(folder)
    if name not in known:
        raise UnknownData(f"{missing} {brief(name)} ({nearest(str(name), known)}).")
    return _read(root() / "data" / folder / f"{name}.toml", model, {"name": name})


def _read(path: Path, model: type[Model], given: dict[str, Any]) -> Model:
    try:
        return model(**given, **tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise DataError(f"the card {path} is malformed: {refused(error)}") from error
    except (TypeError, ValueError) as error:  # bad TOML and bad UTF-8 are ValueErrors
        raise DataError(f"the card {path} cannot be read as TOML ({error}).") from error
