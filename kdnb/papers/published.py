"""The format of `papers/verdicts.json`, for other programs: a model, and the JSON schema made from it.

The schema is committed as `papers/verdicts.schema.json`. Entries may be added to it; existing entries
keep their names and meanings as long as `VERSION` does not change.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kdnb.papers.deciding import WORDS, Word
from kdnb.papers.records import PROFILE, Sha256

VERSION = 1
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Count = Annotated[int, Field(ge=0)]
Words = Literal[WORDS]  # the six words of a claim; an identity has its own two


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Claim(_Model):
    """One claim and how it ended."""

    word: Word = Field(description="the verdict; an identity holds or fails")
    ours: bool = Field(description="a question of kdnb's that the paper does not ask")
    identity: bool = Field(description="algebra, checked to rounding")
    title: str
    why: str = Field(description="one sentence without measured numbers")


class Paper(_Model):
    """The claims of one paper, judged on one record."""

    profile: str = Field(
        pattern=PROFILE, description="of the record: papers/KEY/results/PROFILE.json"
    )
    record: Sha256 = Field(description="the digest of the record, which the record carries too")
    claims: dict[str, Claim] = Field(description="by the claim's id in papers/KEY/claims.toml")


class Identities(_Model):
    """How many identities hold, and how many fail."""

    holds: Count
    fails: Count


class Counts(_Model):
    """Claims of all papers by word: the papers' own, kdnb's questions, identities."""

    claims: dict[Words, Count]
    ours: dict[Words, Count]
    identities: Identities


class Scoreboard(_Model):
    """The verdict of every claim that kdnb tests, and their counts."""

    named: str = Field(alias="$schema", description="where this schema lies")
    counts: Counts
    papers: dict[str, Paper] = Field(description="by the key in papers/references.bib")


def schema() -> dict[str, Any]:
    """The JSON schema of the scoreboard."""
    made = Scoreboard.model_json_schema()
    head = {"$schema": DIALECT, "$id": f"urn:kdnb:verdicts:{VERSION}"}
    return head | {"title": "Verdicts of kdnb"} | {k: v for k, v in made.items() if k != "title"}
