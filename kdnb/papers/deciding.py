"""The six verdicts: combining the tested premises and criteria of a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kdnb.papers.schema import WHOLE, Premise
from kdnb.papers.statistics import LEVEL, MIN_SEEDS

__all__ = ["WORDS", "Checked", "Finding", "Word", "decide"]

Word = Literal[
    "reproduced",
    "partly reproduced",
    "contradicted",
    "inconclusive",
    "premise not met",
    "not testable here",
    "identity holds",
    "identity fails",
]
WORDS: tuple[Word, ...] = (  # of claims; identities are listed separately, with their own two words
    "reproduced",
    "partly reproduced",
    "contradicted",
    "inconclusive",
    "premise not met",
    "not testable here",
)


@dataclass(frozen=True)
class Finding:
    """One quantity on our trials, and whether its criterion holds.

    `mean` is the value on the means for a pooled quantity, whose `sd` over seeds is undefined, and
    the function's value for an exact check. `right`: the point estimate lies on the claimed side.
    `holds`: the criterion holds, or None if that cannot be tested; `note` says why. `against`: the
    interval or the test contradicts the claim. `seeds`: the number of seeds that would settle it.
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
    label: str = ""
    against: bool = False
    effect: float = math.nan
    seeds: float = math.nan

    @property
    def half_width(self) -> float:
        """Half the width of the 95% interval."""
        return (self.high - self.low) / 2

    @property
    def name(self) -> str:
        """The quantity's label if it has one, else the quantity."""
        return self.label or self.quantity


@dataclass(frozen=True)
class Checked:
    """A premise on our trials: its value, and whether it holds, or None without a value."""

    premise: Premise
    value: float = math.nan
    holds: bool | None = None
    note: str = ""


Decision = tuple[Word, str, str]  # the word, its reason without measured numbers, and the numbers


def decide(results: Sequence[Finding], premises: Sequence[Checked], needed: int) -> Decision:
    """The verdict on a claim: its word, its reason without measured numbers, and those numbers.

    Args:
        results: the results of its criteria, in order.
        premises: the premises of the claim, in order.
        needed: the number of seeds at which all its directions can be significant.
    """
    for result in results:
        if result.n == 0:
            return "not testable here", result.note, ""
    for checked in premises:
        why, asked = checked.premise.why, checked.premise.requirement
        if checked.holds is None:
            return "not testable here", f"the premise that {why} has no value: {checked.note}", ""
        if not checked.holds:
            gist = f"{why}: asked for {asked}"
            return "premise not met", gist, f", found {checked.value:.4g}"
    directions = [result for result in results if result.kind == "direction"]
    sizes = [result for result in results if result.kind != "direction"]
    n = min(result.n for result in results)
    for result in directions:
        if result.against:
            return "contradicted", f"{result.name!r} lies {_opposite(result)}", _interval(result)
    if n < needed:
        return "not testable here", _too_few(n, needed, directions), ""
    # A refuted equivalence takes precedence over a missed magnitude, and that over an open result.
    sizes.sort(key=lambda size: (not size.against, size.kind != "equivalence"))
    missed = next((size for size in sizes if not size.holds), None)
    for result in directions:
        if not result.holds and not (missed and missed.against):
            gist = f"{result.name!r} is not significant"
            return "inconclusive", gist, f", p = {result.p_holm:.3g}{_settling(result)}"
    if missed:
        whose = "the interval of " * (missed.kind == "equivalence")
        gist = f"{whose}{missed.name!r} is not {missed.requirement.removesuffix(WHOLE)}"
        shown = directions and all(result.holds for result in directions)
        if missed.against and (missed.kind == "equivalence" or not shown):
            return "contradicted", gist, _interval(missed)
        if shown:
            return "partly reproduced", gist, _interval(missed)
        return "inconclusive", gist, _settling(missed)
    kinds = [result.kind for result in results]
    said = {"direction": "direction is significant", "magnitude": "magnitude holds",
            "equivalence": "equivalence is shown"}  # fmt: skip
    parts = [f"every {words}" for kind, words in said.items() if kind in kinds]
    return "reproduced", " and ".join(parts), ""


def _too_few(n: int, needed: int, directions: list[Finding]) -> str:
    """The reason if more seeds are needed."""
    gist = f"significance is not testable (n = {n} < {needed})"
    if n >= MIN_SEEDS:
        gist += f": {len(directions)} directions under Holm need {needed} seeds"
    wrong = [result for result in directions if not result.right]
    if wrong:
        return f"{gist}; {wrong[0].name!r} goes in the wrong direction in the mean"
    return f"{gist}; every direction holds in the mean" if directions else gist


def _opposite(result: Finding) -> str:
    """`> 0` as `significantly below 0`, or as `below 0 with its whole 95% interval`."""
    sign, bound = result.requirement.split()
    side = f"{'below' if sign == '>' else 'above'} {bound}"
    significant = result.p_holm < LEVEL
    return f"significantly {side}" if significant else f"{side} with its whole 95% interval"


def _interval(result: Finding) -> str:
    p = f", p = {result.p_holm:.3g}" if math.isfinite(result.p_holm) else ""
    return f": {result.mean:.4g} (95% interval {result.low:.4g} to {result.high:.4g}{p})"


def _settling(result: Finding) -> str:
    """The half-width of the interval, the effect sought, and the seeds needed to find it."""
    parts = [f"half-width {result.half_width:.3g}"]
    if math.isfinite(result.effect):
        looked_for = "tolerance" if result.kind == "equivalence" else "published effect"
        if result.kind == "direction" and not math.isfinite(result.published):
            looked_for = "smallest effect of interest"
        parts.append(f"{looked_for} {result.effect:.3g}")
    else:
        parts.append("no published effect")
    if result.seeds <= result.n:
        parts.append(f"{result.seeds:.0f} seeds would have shown it")
    elif math.isinf(result.seeds):
        parts.append("more than 10,000 seeds would settle it")
    elif math.isfinite(result.seeds):
        parts.append(f"{result.seeds:.0f} seeds would settle it")
    return f" ({', '.join(parts)})"
