"""Records: our results of one paper at one profile, raw per arm and seed, as JSON in `papers/`."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, NoReturn

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from kdnb import paths
from kdnb.names import UsageError, brief, nearest

Name = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]  # usable in the quantities of claims
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{24,64}$")]  # of a trial, or of several
Text = Annotated[str, Field(min_length=1)]
PROFILE = r"^[a-z][a-z0-9_-]*$"


PROFILES = ("full", "laptop", "quick")  # the order in which they are shown


class PaperError(ValueError):
    """A paper, record or key is unknown or damaged; the message says which and what to do."""


class UnknownPaper(PaperError, UsageError):
    """There is no such paper, claim, profile or format."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Environment(BaseModel):
    """The provenance shared by trials: commit, dirty, and everything else (versions, ...)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    commit: str
    dirty: bool


class Entry(_Model):
    """The result of one trial: its metrics, digest, environment and wall time in s."""

    metrics: Annotated[dict[Name, FiniteFloat], Field(min_length=1)]
    trial: Digest
    environment: str
    wall_s: Annotated[FiniteFloat, Field(ge=0)]


class Record(_Model):
    """The recorded results of a paper at one profile."""

    paper: Text
    profile: Annotated[str, Field(pattern=PROFILE)]
    recipe_digest: Digest
    created: Text  # when its last trial ended
    parameters: dict[str, Any] = {}  # of its reproduction
    arms: Annotated[
        dict[Name, Annotated[dict[int, Entry], Field(min_length=1)]], Field(min_length=1)
    ]
    environments: dict[str, Environment]
    data: dict[str, dict[str, Sha256]]

    @model_validator(mode="after")
    def _whole(self) -> Record:
        for arm, seeds in self.arms.items():
            for seed, outcome in seeds.items():
                if outcome.environment not in self.environments:
                    hint = nearest(outcome.environment, self.environments)
                    name = f"arm {arm!r}, seed {seed}: environment {outcome.environment!r}"
                    raise ValueError(f"{name} is unknown ({hint})")
        try:  # for their free fields pydantic alone would write a NaN as null
            json.dumps(self.model_dump()["environments"], allow_nan=False, default=str)
        except ValueError:
            raise ValueError("environments hold a number that is not finite") from None
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: sorted keys, no white space, UTF-8.

        The file contains it as `digest`, beside the content from which it is computed.
        """
        text = json.dumps(
            self.model_dump(mode="json"),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def commit(self) -> str:
        """The commits that made it, 12 digits each, with `+dirty` if the tree was dirty."""
        made = sorted({(env.commit, env.dirty) for env in self.environments.values()})
        return ", ".join(f"{commit[:12]}{'+dirty' if dirty else ''}" for commit, dirty in made)

    def table(self) -> pd.DataFrame:
        """Columns (arm, metric), one row for each seed; NaN where an arm was not run.

        `attrs["parameters"]` has the numeric parameters, which premises may use.
        """
        values: dict[tuple[str, str], dict[int, float]] = {}
        for arm, seeds in self.arms.items():
            for seed, outcome in seeds.items():
                for metric, value in outcome.metrics.items():
                    values.setdefault((arm, metric), {})[seed] = value
        frame = pd.DataFrame({key: pd.Series(by_seed) for key, by_seed in values.items()})
        frame.columns = pd.MultiIndex.from_tuples(values, names=["arm", "metric"])
        frame = frame.sort_index().rename_axis(index="seed").astype(float)
        frame.attrs["parameters"] = {
            name: float(value)
            for name, value in self.parameters.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        return frame


def environment_id(environment: dict[str, Any]) -> str:
    """A short identifier of a provenance, determined by its content."""
    text = json.dumps(environment, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def record_path(key: str, profile: str) -> Path:
    """The path of the record of a paper at a profile."""
    return paths.root() / "papers" / key / "results" / f"{profile}.json"


def earlier_path(record: Record) -> Path:
    """The path to which a record moves when its setting is replaced, named after its recipes."""
    folder = record_path(record.paper, record.profile).parent / "earlier"
    return folder / f"{record.profile}-{record.recipe_digest[:8]}.json"


def write_record(record: Record, path: str | Path) -> None:
    """Write a record with its digest, atomically, as JSON that diffs well."""
    plain = record.model_dump(mode="json") | {"digest": record.digest}
    text = json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    paths.atomic_write(Path(path), text + "\n")


def read_record(key: str, profile: str) -> Record:
    """The record of a paper at a profile.

    Raises `PaperError` if there is none, or if the file is damaged: see `read_file`.
    """
    path = record_path(key, profile)
    if not re.fullmatch(PROFILE, profile) or not path.is_file():
        found = sorted(other.stem for other in record_path(key, "any").parent.glob("*.json")) or [
            "none"
        ]
        message = (
            f"There is no record of {brief(key)} at profile {brief(profile)} (recorded: "
            f"{', '.join(found)})."
        )
        # A valid profile that is not recorded yet is not a usage error.
        raise PaperError(message) if profile in PROFILES else UnknownPaper(message)
    record = read_file(path)
    if (record.paper, record.profile) != (key, profile):
        _damaged(path, f"it holds {record.paper!r} at profile {record.profile!r}")
    return record


def read_file(path: Path) -> Record:
    """The record in a file.

    Raises `PaperError` if it is not a record, or if its digest does not match its content. Records from
    before digests were introduced have none; `kdnb.papers.digests.write` adds them.
    """
    try:
        raw = json.loads(path.read_bytes(), parse_constant=_refuse)
        carried = raw.pop("digest", None) if isinstance(raw, dict) else None
        record = Record.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        _damaged(path, f"{field}: " * bool(field) + first["msg"].removeprefix("Value error, "))
    except (RecursionError, ValueError) as error:  # bad UTF-8 is a ValueError
        _damaged(path, f"it is not valid JSON ({error})")
    if carried is not None and carried != record.digest:
        _damaged(path, f"its digest is {brief(carried, 80)}, but its content has {record.digest}")
    return record


def carries_digest(path: Path) -> bool:
    """Whether a record's file contains its digest."""
    return "digest" in json.loads(path.read_bytes())


def _damaged(path: Path, problem: str) -> NoReturn:
    message = f"{path} is damaged: {problem}. Restore it from git, or record it again."
    raise PaperError(message) from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")
