"""Citations of a paper, the survey, kdnb, and our results with their provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from kdnb.names import brief, nearest
from kdnb.papers import judging, results
from kdnb.papers.quantities import parse
from kdnb.papers.records import Record, UnknownPaper, read_record
from kdnb.papers.references import bibtex, csl, entry, reference

SURVEY, SOFTWARE = "gou2021survey", "kdnb"
FORMATS = ("bibtex", "markdown", "latex", "csl-json")


def cite(
    key: str, profile: str | None = None, claim: str | None = None, format: str = "bibtex"
) -> str:
    """Cite a paper, the survey and kdnb in a format, and our results as citable sentences.

    Each result has the first quantity of a claim with its value, 95% interval and n, the verdict, the
    profile, the commit and the digest of the record. Covers all profiles and claims unless one is named.

    Args:
        key: a key of the bibliography.
        profile: `laptop`, `full`, ...
        claim: the id of one claim.
        format: `bibtex` (results are lines that BibTeX skips), `markdown`, `latex` (items of a
            bibliography) or `csl-json` (results are the note of the software's item).

    Raises:
        PaperError: for an unknown key, claim, record or format (`UnknownPaper` for all but the record).
    """
    if format not in FORMATS:
        hint, known = nearest(format, FORMATS), f"known: {', '.join(FORMATS)}"
        more = "" if hint == known else f"; {known}"
        raise UnknownPaper(f"Unknown format {brief(format)} ({hint}){more}.")
    entry(key)
    lines = _results(key, profile, claim)
    keys = list(dict.fromkeys([key, SURVEY, SOFTWARE]))
    if format == "csl-json":
        items = [csl(one) for one in keys]
        if lines:
            items[keys.index(SOFTWARE)]["note"] = "\n".join(lines)
        return json.dumps(items, indent=1, ensure_ascii=False) + "\n"
    if format == "markdown":
        blocks = ["\n".join(f"- {reference(one, format)}" for one in keys)]
        return "\n\n".join(blocks + ["\n".join(f"- {line}" for line in lines)] * bool(lines)) + "\n"
    if format == "latex":
        blocks = [f"\\bibitem{{{one}}}\n{reference(one, format)}" for one in keys]
        blocks += ["\n".join(f"% {line}" for line in lines)] * bool(lines)
        return "\n\n".join(blocks) + "\n"
    blocks = [bibtex(key)] + ["\n".join(f"% {line}" for line in lines)] * bool(lines)
    return "\n\n".join(blocks + [bibtex(other) for other in keys[1:]]) + "\n"


def _results(key: str, profile: str | None, claim: str | None) -> list[str]:
    """One sentence per claim and profile; nothing for a paper that we do not reproduce."""
    if key not in results.reproduced_papers():
        if profile or claim:
            results.known(key)
        return []
    everything = results.claims_of(key)
    chosen = [one for one in everything if claim in (None, one.id)]
    if not chosen:
        hint = nearest(str(claim), [one.id for one in everything])
        raise UnknownPaper(f"{key!r} has no claim {brief(claim)} ({hint}).")
    names = [profile] if profile else results.profiles(key)
    if not names:
        return [f"kdnb has no recorded result of {key} yet."]
    return [line for name in names for line in _lines(chosen, read_record(key, name))]


def _lines(claims: Sequence[judging.Claim], record: Record) -> list[str]:
    return [_citable(verdict, record) for verdict in judging.judge_all(claims, record.table())]


def _citable(verdict: judging.Verdict, record: Record) -> str:
    main, word = verdict.results[0], verdict.word
    if word == "premise not met":
        word = f"{word} ({verdict.gist})"
    if not math.isfinite(main.mean):
        value = f"{main.quantity}: {main.note}"
    else:
        measured = f" {unit(verdict.claim, main)}".rstrip()
        basis = f"required: {main.requirement}"
        if main.kind != "exact":
            spread = f"95% {main.interval} interval {main.low:.4g} to {main.high:.4g}"
            basis = ", ".join([spread] * math.isfinite(main.low) + [f"n = {main.n}"])
        value = f"{main.quantity} = {main.mean:.4g}{measured} ({basis})"
    return (
        f"kdnb, {record.paper}, claim {verdict.claim.id}: {word}; {value}; profile "
        f"{record.profile}, commit {record.commit}, record sha256 {record.digest}"
    )


def unit(claim: judging.Claim, result: judging.Finding) -> str:
    """The unit of a claim if it applies, which it does to sums and differences of its default metric."""
    if result.kind == "exact":
        return claim.unit
    scaled = set("*/") & set(result.quantity)
    own_metric = any(metric for _, metric in parse(result.quantity)[1])
    return "" if scaled or own_metric else claim.unit
