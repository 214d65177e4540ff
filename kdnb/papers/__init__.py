"""Papers: the bibliography, and how to show and cite our results beside the published ones.

A paper that we reproduce has a folder `papers/<key>/` with its `claims.toml` and one record for
each profile, `results/<profile>.json`. Profiles are never mixed: each is judged by itself.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pandas as pd
from pybtex.database import BibliographyData, parse_file
from rich.table import Table

from kdnb import paths
from kdnb.names import nearest
from kdnb.papers import claims, quantities
from kdnb.papers.quantities import parse
from kdnb.papers.records import (
    Environment,
    Outcome,
    PaperError,
    Record,
    UnknownPaper,
    environment_id,
    read_record,
    record_path,
    write_record,
)

__all__ = [
    "Environment",
    "Outcome",
    "PaperError",
    "Record",
    "bibliography",
    "bibtex",
    "cite",
    "claims_of",
    "environment_id",
    "profiles",
    "read_record",
    "record_path",
    "reproduced_papers",
    "show",
    "show_frame",
    "verdicts",
    "write_record",
]

SURVEY, SOFTWARE = "gou2021survey", "kdnb"
PROFILES = ("full", "laptop", "quick")  # the order in which they are shown


def reproduced_papers() -> list[str]:
    """The keys of the papers that have claims."""
    return sorted(path.parent.name for path in (paths.root() / "papers").glob("*/claims.toml"))


def claims_of(key: str) -> list[claims.Claim]:
    """The claims of a paper; `PaperError` for an unknown key, `ClaimError` for a bad file."""
    _known(key)
    path = paths.root() / "papers" / key / "claims.toml"
    loaded = claims.load_claims(path)
    if loaded[0].paper != key:
        raise PaperError(f"{path} says paper = {loaded[0].paper!r}, but its folder is {key!r}.")
    return loaded


def profiles(key: str) -> list[str]:
    """The profiles with a record of this paper: full, laptop, quick, then any other."""
    _known(key)
    found = {path.stem for path in record_path(key, "any").parent.glob("*.json")}
    return [name for name in PROFILES if name in found] + sorted(found - set(PROFILES))


def verdicts(key: str, profile: str) -> list[claims.Verdict]:
    """The verdict of each claim of a paper on its record at a profile."""
    return claims.judge_all(claims_of(key), read_record(key, profile).table())


def bibliography() -> BibliographyData:
    """Every entry of `papers/references.bib`."""
    return _parsed(paths.root() / "papers" / "references.bib")


def bibtex(key: str) -> str:
    """The BibTeX entry of a key. Raises `PaperError` naming the nearest ones when unknown."""
    entries = bibliography().entries
    if key not in entries:
        hint = nearest(key, entries)
        raise UnknownPaper(f"There is no entry {key!r} in the bibliography ({hint}).")
    return BibliographyData({key: entries[key]}).to_string("bibtex").strip()


def cite(key: str, profile: str | None = None, claim: str | None = None) -> str:
    """BibTeX of a paper, of the survey and of kdnb, and our results as lines that BibTeX skips.

    Each result: the first quantity of a claim with its value, 95% interval and n, the verdict, the
    profile, the commit and the digest of the record. All profiles and claims unless one is named.
    """
    blocks = [bibtex(key)]
    if key in reproduced_papers():
        chosen = [one for one in claims_of(key) if claim in (None, one.id)]
        if not chosen:
            hint = nearest(str(claim), [one.id for one in claims_of(key)])
            raise UnknownPaper(f"{key!r} has no claim {claim!r} ({hint}).")
        names = [profile] if profile else profiles(key)
        for record in [read_record(key, name) for name in names]:
            judged = claims.judge_all(chosen, record.table())
            blocks.append("\n".join(_citable(verdict, record) for verdict in judged))
        if not names:
            blocks.append(f"% kdnb has no recorded result of {key} yet.")
    elif profile or claim:
        _known(key)
    blocks += [bibtex(other) for other in (SURVEY, SOFTWARE) if other != key]
    return "\n\n".join(blocks) + "\n"


def _citable(verdict: claims.Verdict, record: Record) -> str:
    main = verdict.results[0]
    if not math.isfinite(main.mean):
        value = f"{main.quantity}: {main.note}"
    else:
        unit = f" {_unit(verdict.claim, main)}".rstrip()
        basis = f"required: {main.requirement}"
        if main.kind != "exact":
            basis = ", ".join(filter(None, (_interval(main), f"n = {main.n}")))
        value = f"{main.quantity} = {main.mean:.4g}{unit} ({basis})"
    return (
        f"% kdnb, {record.paper}, claim {verdict.claim.id}: {verdict.word}; {value}; profile "
        f"{record.profile}, commit {record.commit}, record sha256 {record.digest}"
    )


def show_frame(key: str, profile: str | None = None) -> pd.DataFrame:
    """Published beside ours, one row for each profile, claim and quantity.

    The quantities are a claim's published ones, then those of its criteria; `p` is Holm-adjusted.
    Without any record the profile is empty and only the exact checks have values.
    """
    rows: list[dict[str, Any]] = []
    for name in [profile] if profile else profiles(key) or [""]:
        nothing = pd.DataFrame(columns=pd.MultiIndex.from_tuples([], names=["arm", "metric"]))
        table = read_record(key, name).table() if name else nothing
        for verdict in claims.judge_all(claims_of(key), table):
            for result in [*_published(verdict, table), *verdict.results]:
                rows.append(
                    {
                        "profile": name,
                        "claim": verdict.claim.id,
                        "kind": result.kind,
                        "quantity": result.quantity,
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
                        "verdict": verdict.word,
                        "unit": _unit(verdict.claim, result),
                        "note": result.note,
                    }
                )
    return pd.DataFrame(rows)


def _published(verdict: claims.Verdict, table: pd.DataFrame) -> list[claims.Result]:
    """Our values of the published quantities that no criterion tests."""
    claim, found = verdict.claim, []
    for quantity, value in claim.published.items():
        if quantity in [result.quantity for result in verdict.results]:
            continue
        try:
            found.append(claims.measure(quantity, claim, table))
        except quantities.NotTestable as reason:
            found.append(claims.Result("value", quantity, published=value, note=str(reason)))
    return found


def show(key: str, profile: str | None = None) -> Table:
    """`show_frame` for a terminal: one section for each profile and claim."""
    frame = show_frame(key, profile)
    recorded = frame["profile"].any()
    table = Table(title=f"{key}: published and ours", title_justify="left")
    table.caption = None if recorded else "No results are recorded yet."
    for column in ("profile", "claim", "quantity", "claimed"):
        table.add_column(column)
    for column in ("published", "ours", "95% interval", "n", "p"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for (name, claim), part in frame.groupby(["profile", "claim"], sort=False):
        for i, row in enumerate(part.itertuples()):
            numbers = [_number(row.published), _number(row.ours), _interval(row, short=True)]
            p = f"{row.p:.3g}" if math.isfinite(row.p) else row.note * bool(recorded)
            first, word = ((name, claim), row.verdict) if i == 0 else (("", ""), "")
            n = str(row.n or "")
            table.add_row(*first, row.quantity, row.requirement, *numbers, n, p, word)
        table.add_section()
    return table


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ""


def _interval(result: Any, short: bool = False) -> str:
    if not math.isfinite(result.low):
        return ""
    bounds = f"{result.low:.4g} to {result.high:.4g}"
    return f"{bounds} ({result.interval})" if short else f"95% {result.interval} interval {bounds}"


def _unit(claim: claims.Claim, result: claims.Result) -> str:
    """The unit of a claim where it applies: to sums and differences of its default metric."""
    if result.kind == "exact":
        return claim.unit
    scaled = set("*/") & set(result.quantity)
    own_metric = any(metric for _, metric in parse(result.quantity)[1])
    return "" if scaled or own_metric else claim.unit


def _known(key: str) -> None:
    if key not in reproduced_papers():
        raise UnknownPaper(f"kdnb has no claims of {key!r} ({nearest(key, reproduced_papers())}).")


@functools.cache
def _parsed(path: Path) -> BibliographyData:
    return parse_file(str(path), bib_format="bibtex")
