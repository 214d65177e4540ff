"""Verdicts: judging a claim with its premises on a table of results.

Premises come first: if one does not hold, our setting cannot test the claim. Then the criteria are
tested on paired seeds (see `kdnb.papers.schema` for their kinds):

- a direction *holds* if the mean lies on the claimed side of the bound and an exact sign-flip test
  of the paired differences is significant at p < 0.05, Holm-adjusted over the directions of the
  claim; it is *against* the claim if the mean lies on the other side and either the same test
  (two-sided) is significant or the whole 95% interval lies there;
- a magnitude holds if the point estimate lies in the range, an equivalence if the whole 95% interval
  does; either is against the claim if the whole interval lies outside. If a magnitude is missed but
  all directions are significant, the claim is partly reproduced, unless an equivalence is refuted.

A claim of several directions is reproduced only when every one is significant. That alone is an
intersection-union test, which keeps its level without adjustment; Holm makes it stricter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from kdnb.papers.deciding import WORDS, Checked, Finding, Word, decide
from kdnb.papers.identities import identity
from kdnb.papers.quantities import (
    NotTestable,
    evaluate,
    on_means,
    parse,
    published_value,
    select,
)
from kdnb.papers.schema import (
    Claim,
    ClaimError,
    Criterion,
    Direction,
    Equivalence,
    Exact,
    Premise,
)
from kdnb.papers.statistics import (
    LEVEL,
    MIN_SEEDS,
    bca,
    holm,
    interval,
    seeds_needed,
    seeds_to_settle,
    sign_flip,
)

__all__ = ["WORDS", "Checked", "Finding", "Verdict", "by_seed", "judge", "judge_all", "measure"]


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim: its word, the reason, and the statistics of premises and criteria.

    `str(verdict)` is one line without measured numbers, so that it can be compared exactly even if
    the numbers differ between machines; `reason` includes the numbers.
    """

    claim: Claim
    word: Word
    gist: str
    reason: str
    results: tuple[Finding, ...]
    premises: tuple[Checked, ...] = ()

    def __str__(self) -> str:
        return f"{self.claim.id}: {self.word} - {self.gist}"

    def table(self) -> pd.DataFrame:
        """All statistics, one row for each criterion."""
        return pd.DataFrame([asdict(result) for result in self.results])


def judge(claim: Claim, table: pd.DataFrame) -> Verdict:
    """Judge a claim on a table with columns (arm, metric) and one row for each seed.

    Raises `ClaimError` for a malformed table, or for a NaN, naming the arm and the seed.
    """
    if claim.identity:
        results = [_check(criterion, claim) for criterion in claim.criteria]
        failed = [result for result in results if not result.holds]
        word: Word = "identity fails" if failed else "identity holds"
        gist = f"{failed[0].name!r} is not 0" if failed else "checked to rounding"
        return Verdict(claim, word, gist, gist, tuple(results))
    rows = _paired(claim, table)
    results = [_examine(criterion, claim, rows) for criterion in claim.criteria]
    tested = [i for i, result in enumerate(results) if math.isfinite(result.p)]
    adjusted = holm([results[i].p for i in tested])
    against = holm([results[i].p if _two(claim, i) else 1.0 for i in tested])
    for i, p_holm, p_other in zip(tested, adjusted, against, strict=True):
        results[i] = _tested(results[i], p_holm, p_other, _seeds_needed(claim))
    premises = tuple(_premise(premise, claim, table, rows) for premise in claim.premises)
    word, gist, numbers = decide(results, premises, _seeds_needed(claim))
    return Verdict(claim, word, gist, gist + numbers, tuple(results), premises)


def judge_all(claims: Sequence[Claim], table: pd.DataFrame) -> list[Verdict]:
    """Judge the claims of a paper; Holm's correction applies within each claim, not across claims."""
    return [judge(claim, table) for claim in claims]


def measure(quantity: str, claim: Claim, table: pd.DataFrame, pooled: bool = False) -> Finding:
    """A quantity on our trials: n, mean, sd and 95% interval, beside its published value.

    Raises `NotTestable` if an arm has no results or the quantity divides by zero.
    """
    return _measured(quantity, claim, _paired(claim, table), pooled)


def by_seed(quantity: str, claim: Claim, table: pd.DataFrame) -> pd.Series:
    """A quantity on our trials, one value for each seed of the claim.

    Raises `NotTestable` if an arm has no results.
    """
    expression, frame = select(quantity, claim.metric, _paired(claim, table))
    return pd.Series(evaluate(expression, frame), index=frame.index)


def _measured(quantity: str, claim: Claim, rows: pd.DataFrame, pooled: bool) -> Finding:
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
    return Finding(
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
    """The rows of the seeds on which the arms of a claim were run, without gaps."""
    if not isinstance(table.columns, pd.MultiIndex) or table.columns.nlevels != 2:
        raise ClaimError("The table of results needs columns (arm, metric) and seeds as its index.")
    if table.columns.has_duplicates or table.index.has_duplicates:
        raise ClaimError("The table of results has a seed, or a metric of an arm, twice.")
    named = [key for quantity in claim.quantities() for key in parse(quantity)[1]]
    wanted = dict.fromkeys((arm, metric or claim.metric) for arm, metric in named)
    used = table[[column for column in wanted if column in table.columns]].astype(float)
    if used.shape[1] > 1:  # a seed run only for other claims does not count for this one
        used = used.dropna(how="all")
    for (arm, metric), column in used.items():
        for seed in column.index[~np.isfinite(column)]:
            raise ClaimError(
                f"Claim {claim.id!r}: arm {arm!r} has {metric} = {column[seed]} for seed {seed}: "
                "run that arm with that seed, or leave the seed out of every arm."
            )
    return table.loc[used.index]


def _premise(premise: Premise, claim: Claim, table: pd.DataFrame, rows: pd.DataFrame) -> Checked:
    """Check a premise on the means over the claim's seeds, or over its own arms' seeds if they differ."""
    try:
        expression, frame = select(premise.quantity, claim.metric, table)
        known = frame.loc[np.isfinite(frame).all(axis=1)]
        known = known.loc[known.index.intersection(rows.index)] if len(rows) else known
        if known.empty:
            raise NotTestable(f"no seed of {premise.quantity!r} was run")
        value = float(on_means(expression, known, np.arange(len(known))[None])[0])
        if not math.isfinite(value):
            raise NotTestable(f"{premise.quantity!r} divides by zero")
    except NotTestable as reason:
        return Checked(premise, note=str(reason))
    return Checked(premise, value, _between(premise.at_least, value, premise.at_most))


def _between(low: float | None, value: float, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _examine(criterion: Criterion, claim: Claim, rows: pd.DataFrame) -> Finding:
    shown = {
        "kind": criterion.kind,
        "requirement": criterion.requirement,
        "label": criterion.label,
    }
    pooled = criterion.kind == "magnitude" and criterion.pooled
    try:
        result = replace(_measured(criterion.quantity, claim, rows, pooled), **shown)
    except NotTestable as reason:
        value = published_value(criterion.quantity, claim.published)
        return Finding(quantity=criterion.quantity, published=value, note=str(reason), **shown)
    few = result.n < MIN_SEEDS
    result = replace(result, note=f"not testable (n = {result.n} < {MIN_SEEDS})" if few else "")
    expression, frame = select(criterion.quantity, claim.metric, rows)
    if isinstance(criterion, Direction):
        return _directed(result, criterion, evaluate(expression, frame), claim)
    low, high = _bounds(criterion, frame)
    right = _between(low, result.mean, high)
    outside = (high is not None and result.low > high) or (low is not None and result.high < low)
    sure = low is None or result.low >= low
    sure = sure and (high is None or result.high <= high)
    equivalent = isinstance(criterion, Equivalence)
    room = _room(low, high) if equivalent else math.nan
    return replace(
        result,
        right=right,
        holds=None if few else sure if equivalent else right,
        against=outside and not few,
        effect=room,
        seeds=seeds_to_settle(room, result.sd, "equivalence") if equivalent else math.nan,
    )


def _directed(result: Finding, criterion: Direction, values: np.ndarray, claim: Claim) -> Finding:
    up = criterion.at_least is not None
    bound = criterion.at_least if up else criterion.at_most
    sign = 1 if up else -1
    difference = sign * (values - bound)
    side = "greater" if criterion.sided == "one" else "two-sided"
    p = math.nan if result.n < MIN_SEEDS else sign_flip(difference, side)
    edge = result.high if up else result.low  # of the interval, on the claimed side
    effect = sign * (result.published - bound)
    if math.isnan(effect):
        effect = criterion.smallest or math.nan
    if not effect > 0:  # no published effect on the claimed side: no number of seeds can be given
        effect = math.nan
    sides = [c.sided for c in claim.criteria if c.kind == "direction"]
    return replace(
        result,
        right=bool(difference.mean() > 0),
        p=p,
        against=result.n >= MIN_SEEDS and sign * (edge - bound) < 0,
        effect=effect,
        seeds=max(
            seeds_to_settle(effect, result.sd, criterion.sided, len(sides)), _seeds_needed(claim)
        ),
    )


def _tested(result: Finding, p_holm: float, p_other: float, needed: int) -> Finding:
    """A direction with its adjusted p: it holds, is against the claim, or is open."""
    few = result.n < needed
    return replace(
        result,
        p_holm=p_holm,
        holds=None if few else bool(result.right and p_holm < LEVEL),
        against=result.against or bool(not result.right and p_other < LEVEL),
        note=f"not testable (n = {result.n} < {needed})" if few else "",
    )


def _two(claim: Claim, place: int) -> bool:
    return claim.criteria[place].sided == "two"


def _bounds(criterion: Criterion, frame: pd.DataFrame) -> tuple[float | None, float | None]:
    """The range of a magnitude or an equivalence."""
    if isinstance(criterion, Equivalence):
        room = criterion.tolerance
        if criterion.within_sd is not None:
            room = criterion.within_sd * math.sqrt(frame.var(ddof=1).mean())
        if room is not None:
            return -room, room
    return criterion.at_least, criterion.at_most


def _room(low: float | None, high: float | None) -> float:
    """The half-width of a range, or the distance of its bound from 0 if it is one-sided."""
    if low is None or high is None:
        return abs(low if high is None else high)
    return (high - low) / 2


def _check(criterion: Exact, claim: Claim) -> Finding:
    try:
        function = identity(criterion.check)
    except ValueError as error:
        raise ClaimError(f"Claim {claim.id!r}: {error}.") from error
    value, tolerance = (float(number) for number in function())
    holds = abs(value) <= tolerance  # False for NaN
    requirement = f"0 within {tolerance:g}"
    return Finding("exact", criterion.quantity, requirement, mean=value, right=holds, holds=holds)


def _seeds_needed(claim: Claim) -> int:
    return seeds_needed(tuple(c.sided for c in claim.criteria if c.kind == "direction"))
