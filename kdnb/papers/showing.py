"""Published results beside ours: as a frame, for a terminal of 80 columns, as Markdown, as JSON."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kdnb.names import nearest
from kdnb.papers import judging, results
from kdnb.papers.citations import unit
from kdnb.papers.quantities import NotTestable
from kdnb.papers.records import read_record
from kdnb.papers.references import authors

COLOURS = {
    "reproduced": "green",
    "partly reproduced": "cyan",
    "contradicted": "red",
    "inconclusive": "yellow",
    "premise not met": "magenta",
    "not testable here": "bright_black",
    "identity holds": "green",
    "identity fails": "red",
}


def judged(
    key: str, profile: str | None = None, only: Collection[str] | None = None
) -> Iterator[tuple[str, judging.Verdict, Any]]:
    """(profile, verdict, table) of each claim, or of those whose ids are in `only`.

    Without a record the profile is empty.
    """
    claims = results.claims_of(key)
    if only is not None:
        known = {claim.id: claim for claim in claims}
        if unknown := [name for name in only if name not in known]:
            raise ValueError(f"{key} has no claim {unknown[0]!r} ({nearest(unknown[0], known)}).")
        claims = [known[name] for name in only]
    for name in [profile] if profile else results.profiles(key) or [""]:
        nothing = pd.DataFrame(columns=pd.MultiIndex.from_tuples([], names=["arm", "metric"]))
        table = read_record(key, name).table() if name else nothing
        for verdict in judging.judge_all(claims, table):
            yield name, verdict, table


def show_frame(
    key: str, profile: str | None = None, only: Collection[str] | None = None
) -> pd.DataFrame:
    """Published beside ours, one row for each profile, claim and quantity.

    The quantities are a claim's published ones, then those of its criteria; `p` is Holm-adjusted.
    `mark` is "yes", "no" (the numbers contradict the criterion) or "open" (they allow both), and
    empty if a premise is not met. Without a record the profile is empty and only exact checks have values.

    Args:
        key: of a paper that we reproduce.
        profile: the profile of its record; all recorded profiles by default.
        only: ids of the claims to judge; all by default.

    Raises:
        ValueError: for an unknown claim.
    """
    rows: list[dict[str, Any]] = []
    for name, verdict, table in judged(key, profile, only):
        for result in [*_published(verdict, table), *verdict.results]:
            rows.append(
                {
                    "profile": name,
                    "claim": verdict.claim.id,
                    "kind": result.kind,
                    "quantity": result.quantity,
                    "label": result.label,
                    "requirement": result.requirement,
                    "published": result.published,
                    "ours": result.mean,
                    "sd": result.sd,
                    "low": result.low,
                    "high": result.high,
                    "interval": result.interval,
                    "n": result.n,
                    "p": result.p_holm,
                    "holds": result.holds,
                    "mark": _mark(result) if verdict.word != "premise not met" else "",
                    "verdict": verdict.word,
                    "unit": unit(verdict.claim, result),
                    "note": result.note,
                }
            )
    return pd.DataFrame(rows)


def _published(verdict: judging.Verdict, table: pd.DataFrame) -> list[judging.Finding]:
    """Our values of the published quantities that no criterion tests."""
    claim, found = verdict.claim, []
    for quantity, value in claim.published.items():
        if quantity in [result.quantity for result in verdict.results]:
            continue
        try:
            found.append(judging.measure(quantity, claim, table))
        except NotTestable as reason:
            found.append(judging.Finding("value", quantity, published=value, note=str(reason)))
    return found


def show(key: str, profile: str | None = None) -> RenderableType:
    """Published beside ours for a terminal: one block per claim, with the reason for its verdict."""
    results.known(key)
    blocks: list[RenderableType] = [Text(f"{key}: {authors(key)}", style="bold")]
    for name, found in itertools.groupby(judged(key, profile), key=lambda one: one[0]):
        verdicts = [(verdict, table) for _, verdict, table in found]
        said = f"profile {name}" if name else "No results are recorded yet."
        blocks += [Text(), Text(said, style="bold underline")]
        common = _common([verdict for verdict, _ in verdicts])
        blocks += [Text(f"premise of several claims: {_premise(checked)}") for checked in common]
        blocks += [_block(verdict, table, common) for verdict, table in verdicts]
    return Group(*blocks)


def replicated(key: str, frame: pd.DataFrame) -> RenderableType:
    """A paper's claims on recorded and on new seeds (`replication.replicate`): one block per claim."""
    if frame.empty:
        return Text(f"No claim of {key} can be judged on these conditions.")
    blocks: list[RenderableType] = [Text(f"{key}: {authors(key)}", style="bold")]
    words = frame.groupby("claim", sort=False).first()[["recorded_word", "again_word"]]
    for claim, rows in frame.groupby("claim", sort=False):
        recorded, again = words.loc[claim]
        head = Text("\n") + Text(str(claim), style="bold") + Text("  recorded: ")
        head += Text(recorded, style=COLOURS[recorded]) + Text(", again: ")
        shown = Table(box=None, pad_edge=False, show_edge=False)
        shown.add_column("", ratio=1, overflow="fold")
        for column in ("seeds", "mean", "95% interval"):
            shown.add_column(column, justify="right", no_wrap=True, header_style="dim")
        for row in rows.to_dict("records"):
            for when in ("recorded", "again"):
                low, high = row[f"{when}_low"], row[f"{when}_high"]
                shown.add_row(
                    Text(row["quantity"] if when == "recorded" else "  again"),
                    str(row[f"{when}_n"]),
                    _number(row[f"{when}_mean"]),
                    f"{low:.4g} to {high:.4g}" if math.isfinite(low) else "",
                )
        blocks += [head + Text(again, style=COLOURS[again]), Padding(shown, (0, 0, 0, 2))]
    same = int((words["recorded_word"] == words["again_word"]).sum())
    blocks.append(Text(f"\nThe same verdict: {same} of {len(words)}."))
    return Group(*blocks)


def _common(verdicts: Sequence[judging.Verdict]) -> list[judging.Checked]:
    """The premises shared by several claims, on the seeds of the first; they are shown once."""
    count = Counter(one.premise for verdict in verdicts for one in verdict.premises)
    first = {one.premise: one for v in reversed(verdicts) for one in v.premises}
    return [first[premise] for premise, claims in count.items() if claims > 1]


def _block(
    verdict: judging.Verdict, table: pd.DataFrame, common: Sequence[judging.Checked]
) -> RenderableType:
    claim, shared = verdict.claim, {checked.premise for checked in common}
    head = Text("\n") + Text(claim.id, style="bold") + Text("  ")
    head += Text(verdict.word, style=f"bold {COLOURS[verdict.word]}")
    head += Text(f"  ({_kind(claim)})" * bool(_kind(claim)))
    said = Text(" ".join(claim.statement.split())) + Text(f" [{claim.where}]", style="dim")
    own = [one for one in verdict.premises if one.premise not in shared]
    lines = [Text(f"premise: {_premise(checked)}") for checked in own]
    body = [said, *lines, _numbers(verdict, table), Text(_why(verdict), style="italic")]
    return Group(head, *(Padding(part, (0, 0, 0, 2)) for part in body))


def _numbers(verdict: judging.Verdict, table: pd.DataFrame) -> Table:
    shown = Table(box=None, pad_edge=False, show_edge=False, expand=False)
    shown.add_column(
        Text(verdict.claim.unit), ratio=1, overflow="fold", style="", header_style="dim"
    )
    for column in ("published", "ours", "95% interval", "n", ""):
        shown.add_column(column, justify="right", no_wrap=True, header_style="dim")
    for result in [*_published(verdict, table), *verdict.results]:
        name = f"{result.name} {result.requirement}".strip()
        spread = f"{result.low:.4g} to {result.high:.4g}" if math.isfinite(result.low) else ""
        numbers = [_number(result.published), _number(result.mean), spread, str(result.n or "")]
        shown.add_row(
            Text(name), *numbers, _mark(result) if verdict.word != "premise not met" else ""
        )
    return shown


def _mark(result: judging.Finding) -> str:
    if result.holds:
        return "yes"
    if result.against:
        return "no"
    return "open" if result.kind != "value" and result.n else "no" if result.holds is False else ""


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ""


def _kind(claim: judging.Claim) -> str:
    return "identity" if claim.identity else "our own question" if claim.ours else ""


def _premise(checked: judging.Checked) -> str:
    asked = checked.premise.requirement
    if checked.holds is None:
        return f"{checked.premise.why} ({asked}): {checked.note}"
    outcome = "holds" if checked.holds else "does not hold"
    return f"{checked.premise.why}: {checked.value:.4g}, asked for {asked}: {outcome}"


def _why(verdict: judging.Verdict) -> str:
    """One sentence with the reason for the verdict."""
    reason = verdict.reason.strip()
    if verdict.word == "premise not met":
        reason = f"premise: {reason}"
    return f"{reason[:1].upper()}{reason[1:]}."


def markdown(key: str, profile: str | None = None) -> str:
    """The same as Markdown: a heading and a table for each claim."""
    results.known(key)
    lines = [f"# {key}: {authors(key)}", ""]
    before = None
    for name, verdict, table in judged(key, profile):
        if name != before:
            lines += [f"## Profile {name}" if name else "No results are recorded yet.", ""]
            before = name
        claim = verdict.claim
        kind = f" ({_kind(claim)})" if _kind(claim) else ""
        lines += [f"### {claim.id}: {verdict.word}{kind}", ""]
        lines += [f"{' '.join(claim.statement.split())} ({claim.where}.)", ""]
        lines += [f"- Premise: {_premise(checked)}" for checked in verdict.premises]
        lines += [""] * bool(verdict.premises)
        lines += ["| quantity | claimed | published | ours | 95% interval | n | holds |"]
        lines += ["|---|---|---:|---:|---:|---:|---|"]
        for result in [*_published(verdict, table), *verdict.results]:
            spread = f"{result.low:.4g} to {result.high:.4g}" if math.isfinite(result.low) else ""
            cells = [
                f"`{result.quantity}`" if not result.label else result.label, result.requirement,
                _number(result.published), _number(result.mean), spread, str(result.n or ""),
                _mark(result),
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", _why(verdict), ""]
    return "\n".join(lines)


def document(key: str, profile: str | None = None) -> list[dict[str, Any]]:
    """The same as plain data: one dictionary per profile and claim, None for missing values."""
    found = []
    for name, verdict, table in judged(key, profile):
        claim = verdict.claim
        found.append(
            {
                "paper": key,
                "profile": name or None,
                "claim": claim.id,
                "title": claim.title,
                "statement": " ".join(claim.statement.split()),
                "where": claim.where,
                "ours": claim.ours,
                "identity": claim.identity,
                "verdict": verdict.word,
                "why": verdict.reason,
                "premises": [
                    {
                        "why": checked.premise.why,
                        "quantity": checked.premise.quantity,
                        "required": checked.premise.requirement,
                        "value": _finite(checked.value),
                        "holds": checked.holds,
                    }
                    for checked in verdict.premises
                ],
                "quantities": [
                    {
                        "quantity": result.quantity,
                        "label": result.label or None,
                        "kind": result.kind,
                        "required": result.requirement or None,
                        "unit": unit(claim, result) or None,
                        "published": _finite(result.published),
                        "ours": _finite(result.mean),
                        "sd": _finite(result.sd),
                        "interval": [_finite(result.low), _finite(result.high)],
                        "n": result.n,
                        "p": _finite(result.p_holm),
                        "holds": result.holds,
                        "seeds_to_settle": _finite(result.seeds),
                    }
                    for result in [*_published(verdict, table), *verdict.results]
                ],
            }
        )
    return found


def as_json(key: str, profile: str | None = None) -> str:
    """`document` as JSON text."""
    return json.dumps(document(key, profile), indent=1, ensure_ascii=False) + "\n"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
