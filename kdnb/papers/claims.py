"""Claims and verdicts: a statement of a paper, the trials that test it, and how the test ends.

A claim is written down before our numbers exist (`papers/<key>/claims.toml`) as criteria over
quantities (arithmetic over arms, evaluated on paired seeds):

- **direction**: the mean lies on the claimed side of the bound, and an exact sign-flip test of the
  paired differences says so at p < 0.05, Holm-adjusted over the direction criteria of the claim;
- **magnitude**: the point estimate lies in the claimed range (`at_least`, `at_most`), or within
  `within_sd` pooled standard deviations of its two arms, sqrt((sd_a^2 + sd_b^2) / 2);
- **exact**: a function of ours returns (value, tolerance) with |value| <= tolerance.

A claim of several directions is reproduced only when every one is significant. That alone is an
intersection-union test, which keeps its level without adjustment; Holm makes it stricter.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from kdnb.papers.identities import identity
from kdnb.papers.quantities import (
    NotTestable,
    Quantity,
    evaluate,
    nearest,
    on_means,
    parse,
    published_value,
    select,
)
from kdnb.papers.statistics import LEVEL, MIN_SEEDS, bca, holm, interval, seeds_needed, sign_flip

__all__ = [
    "Claim",
    "ClaimError",
    "NotTestable",
    "Result",
    "Verdict",
    "holm",
    "interval",
    "judge",
    "judge_all",
    "load_claims",
    "measure",
    "sign_flip",
]

Word = Literal["reproduced", "direction only", "not reproduced", "not testable here"]


class ClaimError(ValueError):
    """A claims file, or the table it is judged on, is wrong; the message says what and where."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Direction(_Model):
    """The quantity lies above `at_least` or below `at_most`, significantly."""

    kind: Literal["direction"]
    quantity: Quantity
    at_least: FiniteFloat | None = None
    at_most: FiniteFloat | None = None
    sided: Literal["one", "two"] = "two"  # "one" only when registered before the trials ran

    @model_validator(mode="after")
    def _one_bound(self) -> Direction:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a direction needs exactly one of at_least and at_most")
        return self

    @property
    def requirement(self) -> str:
        return f"> {self.at_least:g}" if self.at_least is not None else f"< {self.at_most:g}"


class Magnitude(_Model):
    """The point estimate of the quantity lies in a range, or near 0 compared with its arms' sd.

    `pooled` evaluates the quantity on the means over the seeds (for ratios, whose value at one
    seed may be wild) instead of averaging its values per seed.
    """

    kind: Literal["magnitude"]
    quantity: Quantity
    pooled: bool = False
    at_least: FiniteFloat | None = None
    at_most: FiniteFloat | None = None
    within_sd: Annotated[FiniteFloat, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Magnitude:
        low, high = self.at_least, self.at_most
        if self.within_sd is not None:
            if low is not None or high is not None or self.pooled:
                raise ValueError("within_sd stands alone: without at_least, at_most and pooled")
            if parse(self.quantity)[0] != "c0 - c1":
                raise ValueError("within_sd needs a difference of two arms: arm - arm")
        elif low is None and high is None:
            raise ValueError("a magnitude needs at_least, at_most or within_sd")
        elif low is not None and high is not None and low > high:
            raise ValueError(f"at_least ({low:g}) is above at_most ({high:g})")
        return self

    @property
    def requirement(self) -> str:
        if self.within_sd is not None:
            return f"within {self.within_sd:g} sd of 0"
        bounds = ((">=", self.at_least), ("<=", self.at_most))
        return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


class Exact(_Model):
    """An identity of `kdnb.papers.identities`: (value, tolerance) with |value| <= tolerance."""

    kind: Literal["exact"]
    quantity: Annotated[str, Field(min_length=1)]  # in words
    check: Annotated[str, Field(pattern=r"^[a-z]\w*$")]  # its name in `identities`


Criterion = Annotated[Direction | Magnitude | Exact, Field(discriminator="kind")]


class Claim(_Model):
    """One testable statement of a paper, in our words, with the criteria that decide it."""

    paper: str = ""
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    statement: str
    where: str
    metric: str | None = None  # of the arms that a quantity names without one
    published: dict[Quantity, FiniteFloat] = {}
    unit: str = ""
    criteria: Annotated[tuple[Criterion, ...], Field(alias="criterion", min_length=1)]

    @model_validator(mode="after")
    def _metric_known(self) -> Claim:
        for quantity in self.quantities() if self.metric is None else ():
            for arm, metric in parse(quantity)[1]:
                if metric is None:
                    raise ValueError(f"{quantity!r} names {arm!r} without a metric: set metric")
        return self

    def quantities(self) -> list[str]:
        """The quantities of its criteria, then those published."""
        return [c.quantity for c in self.criteria if c.kind != "exact"] + [*self.published]


class _File(_Model):
    paper: str
    claim: Annotated[list[Claim], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> _File:
        ids = [claim.id for claim in self.claim]
        for name in ids:
            if ids.count(name) > 1:
                raise ValueError(f"the id {name!r} is used twice")
        return self


def load_claims(path: str | Path) -> list[Claim]:
    """The claims of a `claims.toml`.

    Raises `ClaimError` naming the file, the claim and the field.
    """
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # bad TOML and bad UTF-8 are ValueErrors
        raise ClaimError(f"{path}: cannot be read as TOML ({error}).") from None
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        raise ClaimError(f"{path}: {_explain(error, raw)}.") from None
    return [claim.model_copy(update={"paper": file.paper}) for claim in file.claim]


def _explain(error: ValidationError, raw: dict[str, Any]) -> str:
    """The first error of a claims file: the claim, the criterion, the field, what is wrong."""
    first, more = error.errors()[0], error.error_count() - 1
    place, field, known = [], list(first["loc"]), ["paper", "claim"]
    if field[:1] == ["claim"] and len(field) > 1:
        claim = raw["claim"][field[1]]
        name = claim.get("id") if isinstance(claim, dict) else None
        place.append(f"claim {name!r}" if name else f"claim number {field[1] + 1}")
        field, known = field[2:], [f.alias or name for name, f in Claim.model_fields.items()]
    if field[:1] == ["criterion"] and len(field) > 1:
        place.append(f"criterion {field[1] + 1}")
        model = {"direction": Direction, "magnitude": Magnitude, "exact": Exact}.get(
            field[2] if len(field) > 2 else None
        )
        field, known = field[3:], model.model_fields if model else []
    if field:
        place.append(f"field {'.'.join(map(str, field))!r}")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"is unknown ({nearest(str(field[-1]), known)})"
    rest = f" (and {more} more)" if more else ""
    return ", ".join(place) + (": " if place else "") + message + rest


@dataclass(frozen=True)
class Result:
    """One quantity on our trials, and whether its criterion holds.

    `mean` is the value on the means for a pooled quantity, whose `sd` over seeds is undefined, and
    the function's value for an exact check. `right`: the point estimate lies on the claimed side.
    `holds`: the criterion holds, None when that cannot be tested; `note` says why.
    """

    kind: str
    quantity: str
    requirement: str = ""
    published: float = math.nan
    n: int = 0
    mean: float = math.nan
    sd: float = math.nan
    low: float = math.nan
    high: float = math.nan
    interval: str = ""
    p: float = math.nan
    p_holm: float = math.nan
    right: bool | None = None
    holds: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """How a claim ended: one of four words, the reason, and the statistics of each criterion.

    `str(verdict)` is one line that never carries a measured number, so that it can be compared
    strictly where the numbers differ between machines; `reason` may carry a p value as well.
    """

    claim: Claim
    word: Word
    gist: str
    reason: str
    results: tuple[Result, ...]

    def __str__(self) -> str:
        return f"{self.claim.id}: {self.word} - {self.gist}"

    def table(self) -> pd.DataFrame:
        """All statistics, one row for each criterion."""
        return pd.DataFrame([asdict(result) for result in self.results])


def judge(claim: Claim, table: pd.DataFrame) -> Verdict:
    """Judge a claim on a table with columns (arm, metric) and one row for each seed.

    Raises `ClaimError` for a malformed table, and for a NaN naming the arm and the seed.
    """
    measured = any(criterion.kind != "exact" for criterion in claim.criteria)
    rows = _paired(claim, table) if measured else table
    results = [_examine(criterion, claim, rows) for criterion in claim.criteria]
    tested = [i for i, result in enumerate(results) if math.isfinite(result.p)]
    for i, p_holm in zip(tested, holm([results[i].p for i in tested]), strict=True):
        n, needed = results[i].n, _seeds_needed(claim)
        holds = None if n < needed else bool(results[i].right and p_holm < LEVEL)
        note = f"not testable (n = {n} < {needed})" if n < needed else ""
        results[i] = replace(results[i], p_holm=p_holm, holds=holds, note=note)
    word, gist, numbers = _decide(claim, results)
    return Verdict(claim, word, gist, gist + numbers, tuple(results))


def judge_all(claims: Sequence[Claim], table: pd.DataFrame) -> list[Verdict]:
    """Judge the claims of a paper; Holm runs within each claim, not across them."""
    return [judge(claim, table) for claim in claims]


def measure(quantity: str, claim: Claim, table: pd.DataFrame, pooled: bool = False) -> Result:
    """A quantity on our trials: n, mean, sd and 95% interval, beside its published value.

    Raises `NotTestable` when an arm has no results or the quantity divides by zero.
    """
    return _measured(quantity, claim, _paired(claim, table), pooled)


def _measured(quantity: str, claim: Claim, rows: pd.DataFrame, pooled: bool) -> Result:
    expression, frame = select(quantity, claim.metric, rows)
    values = on_means(expression, frame, np.arange(len(frame))[None])
    if not pooled:
        values = evaluate(expression, frame)
    if not np.isfinite(values).all():
        seed = "" if pooled else f" for seed {frame.index[~np.isfinite(values)][0]}"
        raise NotTestable(f"{quantity!r} divides by zero{seed}")
    if pooled:
        low, high = bca(lambda seeds: on_means(expression, frame, seeds), len(frame))
    else:
        low, high = interval(values)
    return Result(
        kind="value",
        quantity=quantity,
        published=published_value(quantity, claim.published),
        n=len(frame),
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        low=low,
        high=high,
        interval="BCa" if pooled else "t",
    )


def _paired(claim: Claim, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the seeds that the arms of a claim were run on, without a hole among them."""
    if not isinstance(table.columns, pd.MultiIndex) or table.columns.nlevels != 2:
        raise ClaimError("The table of results needs columns (arm, metric) and seeds as its index.")
    if table.columns.has_duplicates or table.index.has_duplicates:
        raise ClaimError("The table of results has a seed, or a metric of an arm, twice.")
    named = [key for quantity in claim.quantities() for key in parse(quantity)[1]]
    wanted = dict.fromkeys((arm, metric or claim.metric) for arm, metric in named)
    used = table[[column for column in wanted if column in table.columns]].astype(float)
    if used.shape[1] > 1:  # a seed run for other claims only is not a seed of this one
        used = used.dropna(how="all")
    for (arm, metric), column in used.items():
        for seed in column.index[~np.isfinite(column)]:
            raise ClaimError(
                f"Claim {claim.id!r}: arm {arm!r} has {metric} = {column[seed]} for seed {seed}: "
                "run that arm with that seed, or leave the seed out of every arm."
            )
    return table.loc[used.index]


def _examine(criterion: Criterion, claim: Claim, rows: pd.DataFrame) -> Result:
    if criterion.kind == "exact":
        return _check(criterion, claim)
    shown = {"kind": criterion.kind, "requirement": criterion.requirement}
    pooled = criterion.kind == "magnitude" and criterion.pooled
    try:
        result = replace(_measured(criterion.quantity, claim, rows, pooled), **shown)
    except NotTestable as reason:
        value = published_value(criterion.quantity, claim.published)
        return Result(quantity=criterion.quantity, published=value, note=str(reason), **shown)
    few = result.n < MIN_SEEDS
    result = replace(result, note=f"not testable (n = {result.n} < {MIN_SEEDS})" if few else "")
    expression, frame = select(criterion.quantity, claim.metric, rows)
    if criterion.kind == "magnitude":
        right = _in_range(criterion, result.mean, frame)
        return replace(result, right=right, holds=None if few else right)
    values = evaluate(expression, frame)
    up = criterion.at_least is not None
    difference = values - criterion.at_least if up else criterion.at_most - values
    side = "greater" if criterion.sided == "one" else "two-sided"
    p = math.nan if few else sign_flip(difference, side)
    return replace(result, right=bool(difference.mean() > 0), p=p)


def _in_range(criterion: Magnitude, mean: float, frame: pd.DataFrame) -> bool:
    if criterion.within_sd is not None:
        return abs(mean) <= criterion.within_sd * math.sqrt(frame.var(ddof=1).mean())
    above = criterion.at_least is None or mean >= criterion.at_least
    return above and (criterion.at_most is None or mean <= criterion.at_most)


def _check(criterion: Exact, claim: Claim) -> Result:
    try:
        function = identity(criterion.check)
    except ValueError as error:
        raise ClaimError(f"Claim {claim.id!r}: {error}.") from error
    value, tolerance = (float(number) for number in function())
    holds = abs(value) <= tolerance  # False for NaN
    requirement = f"0 within {tolerance:g}"
    return Result("exact", criterion.quantity, requirement, mean=value, right=holds, holds=holds)


def _decide(claim: Claim, results: list[Result]) -> tuple[Word, str, str]:
    """The word, its reason without measured numbers, and the numbers that complete the reason."""
    exact = [r for r in results if r.kind == "exact"]
    measured = [r for r in results if r.kind != "exact"]
    directions = [r for r in measured if r.kind == "direction"]
    for result in exact:
        if not result.holds:
            return "not reproduced", f"{result.quantity!r} is not 0", ""
    for result in measured:
        if result.n == 0:
            return "not testable here", result.note, ""
    n = min((result.n for result in measured), default=MIN_SEEDS)
    wrong = [f"{r.quantity!r} goes in the wrong direction" for r in directions if not r.right]
    needed = _seeds_needed(claim)
    enough = MIN_SEEDS if n < MIN_SEEDS else needed
    untestable = f"significance is not testable (n = {n} < {enough})"
    if n < MIN_SEEDS:
        if wrong or not directions:
            return "not testable here", ", ".join([untestable, *wrong[:1]]), ""
        return "direction only", f"{untestable}, every direction holds in the mean", ""
    if wrong:
        return "not reproduced", wrong[0], ""
    if n < needed:  # no data could have passed, so that failing is no evidence against the claim
        several = f"{len(directions)} directions under Holm need {needed} seeds"
        return "direction only", f"{untestable}: {several}; every one holds in the mean", ""
    for result in directions:
        if not result.holds:
            return (
                "not reproduced",
                f"{result.quantity!r} is not significant",
                f", p = {result.p_holm:.3g}",
            )
    for result in measured:
        if not result.holds:
            word: Word = "direction only" if directions else "not reproduced"
            return word, f"{result.quantity!r} is not {result.requirement}", ""
    parts = ["every direction is significant"] if directions else []
    parts += ["every magnitude holds"] if len(measured) > len(directions) else []
    parts += ["every exact check holds"] if exact else []
    return "reproduced", " and ".join(parts), ""


def _seeds_needed(claim: Claim) -> int:
    return seeds_needed(tuple(c.sided for c in claim.criteria if c.kind == "direction"))
