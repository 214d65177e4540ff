"""The papers that we reproduce: their claims, the profiles that are recorded, and the verdicts.

Each has a folder `papers/<key>/` with `claims.toml`, `conditions.toml`, and one record for each
profile, `results/<profile>.json`. Profiles are never mixed: each is judged separately.
"""

from __future__ import annotations

import tomllib

from kdnb import paths
from kdnb.names import brief, nearest
from kdnb.papers import judging, schema
from kdnb.papers.quantities import PARAMETERS, parse
from kdnb.papers.records import PROFILES, PaperError, UnknownPaper, read_record, record_path


def reproduced_papers() -> list[str]:
    """The keys of the papers that have claims."""
    return sorted(path.parent.name for path in (paths.root() / "papers").glob("*/claims.toml"))


def known(key: str) -> None:
    """Raise `PaperError`, naming the nearest papers, if a key has no claims."""
    if key not in reproduced_papers():
        raise UnknownPaper(
            f"kdnb has no claims of {brief(key)} ({nearest(key, reproduced_papers())})."
        )


def claims_of(key: str) -> list[schema.Claim]:
    """The claims of a paper; `PaperError` for an unknown key, `ClaimError` for a bad file."""
    known(key)
    path = paths.root() / "papers" / key / "claims.toml"
    loaded = schema.load_claims(path)
    if loaded[0].paper != key:
        raise PaperError(f"{path} says paper = {loaded[0].paper!r}, but its folder is {key!r}.")
    return loaded


def conditions(key: str) -> dict[str, str]:
    """A description of each condition that readers see by name, from `papers/<key>/conditions.toml`.

    These are the conditions in quantities without a label. The order is that of the file; without a
    file the result is empty. Raises `PaperError` for an unknown key.
    """
    known(key)
    path = paths.root() / "papers" / key / "conditions.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def named_conditions(key: str) -> set[str]:
    """The conditions that readers see by name, in quantities without a label."""
    found: set[str] = set()
    for claim in claims_of(key):
        tested = {one.quantity: one.label for one in claim.criteria if one.kind != "exact"}
        for quantity in {**dict.fromkeys(claim.published, ""), **tested}:
            if not tested.get(quantity):
                found |= {condition for condition, _ in parse(quantity)[1]}
    return found - {PARAMETERS}


def profiles(key: str) -> list[str]:
    """The profiles with a record of this paper: full, laptop, quick, then any other."""
    known(key)
    found = {path.stem for path in record_path(key, "any").parent.glob("*.json")}
    return [name for name in PROFILES if name in found] + sorted(found - set(PROFILES))


def verdicts(key: str, profile: str) -> list[judging.Verdict]:
    """The verdict of each claim of a paper on its record at a profile."""
    return judging.judge_all(claims_of(key), read_record(key, profile).table())
