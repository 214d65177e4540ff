"""One page a paper that we reproduce: claims, premises, published and ours, seeds, provenance."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from docutils.nodes import make_id

from kdnb import papers, paths
from kdnb.papers import judging, scoreboard, showing
from kdnb.papers.citations import unit
from kdnb.papers.quantities import NotTestable
from kdnb.papers.records import Record
from kdnb.papers.references import authors, entry, plain
from kdnb.papers.schema import Criterion
from kdnb.progress import bar
from kdnb_site import chapters
from kdnb_site.strips import LEGEND, strip

HEADS = ("quantity", "claimed", "published", "ours", "95% interval", "n", "holds")


def pages() -> dict[str, str]:
    """The page of every paper, and the list of them."""
    taught = chapters.chapters_of(paths.root())
    keys = papers.reproduced_papers()
    found = {}
    with closing(bar(len(keys), 0, "paper", delay=2)) as progress:
        for key in keys:
            found[f"papers/{key}.md"] = page(key, taught.get(key, []))
            progress.update()
    return {**found, "papers/index.md": _list(keys, taught)}


@functools.cache  # sign-flip tests and bootstraps: once a build
def judged(key: str, profile: str) -> list[tuple[judging.Verdict, pd.DataFrame]]:
    """The verdict of each claim on the record of a profile, and the record's values."""
    return [(verdict, frame) for _, verdict, frame in showing.judged(key, profile)]


def anchor(key: str, claim: str) -> str:
    """The id of a claim on its paper's page."""
    return make_id(f"{key}-{claim}")


def badge(word: str) -> str:
    """A verdict as HTML: its word, in the colour that the chapters give it."""
    return f'<span class="kdnb-word {make_id(word)}">{escape(word)}</span>'


def wide(html: str, label: str) -> str:
    """A table that scrolls by itself where the page is narrow, also by the keyboard."""
    said = escape(label, quote=True)
    return f'<div class="kdnb-wide" role="region" tabindex="0" aria-label="{said}">{html}</div>'


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], label: str) -> str:
    """A table of HTML cells, on one line: a blank line would end it. One cell is a row alone."""
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    rows = [list(row) for row in rows]
    width = max((len(row) for row in rows), default=1)
    body = "".join(
        f'<tr class="kdnb-alone"><td colspan="{width}">{row[0]}</td></tr>' if len(row) == 1 else
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
        for row in rows
    )  # fmt: skip
    html = f'<table class="kdnb-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return wide(html, label)


def rows_with(
    name: str, heads: Iterable[str], rows: Iterable[tuple[dict[str, str], Iterable[str]]]
) -> str:
    """A table to sort and to filter; each row has its facets (`data-...`) and its cells."""
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    body = []
    for facets, cells in rows:
        marks = "".join(f' data-{one}="{escape(v, quote=True)}"' for one, v in facets.items())
        body.append(f"<tr{marks}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return (
        f'<table id="{name}" class="kdnb-table sortable asc n-last"><thead>'
        f"<tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def filters(name: str, facets: dict[str, tuple[str, Iterable[str]]]) -> str:
    """A list for each facet (its title, its values) of a table, and a field for words."""
    lists = []
    for facet, (title, values) in facets.items():
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        lists.append(
            f'<label>{title} <select data-facet="{facet}"><option value="">all</option>{options}'
            "</select></label>"
        )
    lists.append('<label>Words <input type="search" data-facet="words"></label>')
    return (
        f'<form class="kdnb-filters" data-table="{name}">{"".join(lists)}<output></output></form>'
    )


def page(key: str, taught: Sequence[tuple[str, str]]) -> str:
    """The page of one paper, in Markdown."""
    title = plain(entry(key).fields["title"])
    lines = [f"# {md(authors(key))}: {md(title)}", "", papers.reference(key, "markdown"), ""]
    told = [f"[chapter {number}](../notebooks/{name})" for number, name in taught]
    lines += [f"The methods are explained in {', '.join(told)}." if told else "", ""]
    folder = paths.root() / "papers" / key
    lines += [f"{_counted(key)} [How a claim is judged](../docs/verdicts.md).", "", LEGEND, ""]
    lines += _conditions(key)
    main = main_profile(key)
    for profile in sorted(papers.profiles(key), key=lambda name: name != main):
        lines += _profile(key, profile)
    lines += _history(key, folder) + _provenance(key) + _cited(key)
    return "\n".join(lines) + "\n"


def _conditions(key: str) -> list[str]:
    """What the names in the quantities mean."""
    rows = [[f"<code>{name}</code>", escape(said)] for name, said in papers.conditions(key).items()]
    if not rows:
        return []
    told = "One condition is one way of training, repeated over seeds. Quantities name these:"
    return ["## Conditions", "", told, "", table(("name", "what it is"), rows, "Conditions"), ""]


def main_profile(key: str) -> str:
    """The profile that the scoreboard judges."""
    return next(name for name in scoreboard.JUDGED if name in papers.profiles(key))


def short(key: str) -> str:
    """`Wang et al. 2018`; with the rest of the key where several papers are called so."""
    name = authors(key)
    alike = sum(authors(other) == name for other in papers.reproduced_papers())
    return f"{name} ({re.sub(r'^[a-z]+[0-9]{4}', '', key)})" if alike > 1 else name


def signs(requirement: str) -> str:
    """What a criterion asks, as HTML."""
    return escape(written(requirement))


def written(text: str) -> str:
    """`T^2` and `>=` of a claims file, as a reader wants them."""
    return text.replace("^2", "²").replace(">=", "≥").replace("<=", "≤")


def md(text: str) -> str:
    """Plain text for Markdown."""
    text = written(" ".join(text.split()))
    for sign in "\\`*_$[]<":
        text = text.replace(sign, f"\\{sign}")
    return text


def _counts(key: str) -> dict[str, Any]:
    claims = [verdict for verdict, _ in judged(key, main_profile(key))]
    about = ({"word": one.word, "ours": one.claim.ours, "identity": one.claim.identity}
             for one in claims)  # fmt: skip
    return scoreboard.counts(about)


def _counted(key: str) -> str:
    counted = _counts(key)
    words = [f"{n} {word}" for word, n in counted["claims"].items() if n]
    said = f"Claims of the paper: {', '.join(words)}." if words else ""
    asked = sum(counted["ours"].values())
    if asked:
        said += f" Our own questions: {counted['ours']['reproduced']} of {asked} reproduced."
    if checked := sum(counted["identities"].values()):
        said += f" Identities: {counted['identities']['holds']} of {checked} hold."
    return said.strip()


def _profile(key: str, profile: str) -> list[str]:
    """The claims as they are judged on the record of a profile."""
    found = judged(key, profile)
    common = showing._common([verdict for verdict, _ in found])
    suffix = "" if profile == main_profile(key) else f" (profile {profile})"
    lines = [f"## Claims{suffix}", ""]
    if common:
        label = f"Premises of several claims{suffix}"
        lines += [f"**{label}.** They are judged before the claims.", ""]
        lines += [_premises(common, label), ""]
    shared = {checked.premise for checked in common}
    for verdict, frame in found:
        claim = verdict.claim
        if not suffix:
            lines += [f"({anchor(key, claim.id)})="]
        kind = showing._kind(claim)
        lines += [f"### {md(claim.title)}", ""]
        lines += [
            f"<p>{badge(verdict.word)} <code>{claim.id}</code>{f' ({kind})' * bool(kind)}</p>",
            "",
        ]
        lines += [f"{md(claim.statement)} ({md(claim.where)}.)", ""]
        own = [one for one in verdict.premises if one.premise not in shared]
        if own:
            lines += [_premises(own, f"Premises of {claim.id}"), ""]
        lines += [_numbers(verdict, frame), "", md(showing._why(verdict)), ""]
    return lines


def _premises(checked: Sequence[judging.Checked], label: str) -> str:
    rows, said = [], [one.premise.why for one in checked]
    for one in checked:
        found = f"{one.value:.4g}" if math.isfinite(one.value) else escape(one.note)
        holds = {True: "yes", False: "no", None: ""}[one.holds]
        why = escape(one.premise.why)
        if said.count(one.premise.why) > 1:  # of different networks: which?
            why += f" <code>{escape(one.premise.quantity)}</code>"
        rows.append([why, signs(one.premise.requirement), found, holds])
    return table(("premise", "asked for", "found", "holds"), rows, label)


def _numbers(verdict: judging.Verdict, frame: pd.DataFrame) -> str:
    """Published beside ours: the quantities that are published alone, then the criteria."""
    claim = verdict.claim
    published = showing._published(verdict, frame)
    criteria: list[Criterion | None] = [None] * len(published) + list(claim.criteria)
    rows = []
    for result, criterion in zip([*published, *verdict.results], criteria, strict=True):
        name = escape(result.name)
        if not result.label and result.kind != "exact":  # which is in words
            name = f"<code>{name}</code>"
        measured = unit(claim, result)
        spread = f"{result.low:.4g} to {result.high:.4g}" if math.isfinite(result.low) else ""
        mark = showing._mark(result) if verdict.word != "premise not met" else ""
        rows.append(
            [name + f' <span class="kdnb-unit">{escape(measured)}</span>' * bool(measured),
             signs(result.requirement), showing._number(result.published),
             showing._number(result.mean) or escape(result.note), spread, str(result.n or ""),
             mark]
        )  # fmt: skip
        rows.append([_strip(result, criterion, claim, frame)])
    return table(HEADS, [row for row in rows if row[0]], f"Numbers of {claim.id}")


def _strip(
    result: judging.Finding, criterion: Criterion | None, claim: judging.Claim, frame: pd.DataFrame
) -> str:
    if result.kind == "exact":
        return ""
    try:
        pooled = getattr(criterion, "pooled", False)
        seeds = [] if pooled else judging.by_seed(result.quantity, claim, frame).tolist()
    except NotTestable:
        seeds = []
    low, high = getattr(criterion, "at_least", None), getattr(criterion, "at_most", None)
    if (room := getattr(criterion, "tolerance", None)) is not None:
        low, high = -room, room
    span = (result.low, result.high)
    return strip(seeds, result.mean, span, result.published, (low, high), result.name)


def _history(key: str, folder: Path) -> list[str]:
    """The settings: how the present one was chosen, and the records of those before it."""
    lines = ["## Settings and their history", ""]
    if (folder / "setting.md").is_file():
        text = (
            f"[The setting](./{key}/setting.md) says how it was chosen, what departs from the paper"
        )
        lines += [f"{text} and what was tried before.", "", "```{toctree}", ":hidden:", ""]
        lines += [f"{key}/setting", "```", ""]
    files = [folder / f"results/{name}.json" for name in papers.profiles(key)]
    files += sorted((folder / "results/earlier").glob("*.json"))
    rows = []
    for file in files:
        record = Record.model_validate_json(_without_digest(file))
        seeds = max(len(arm) for arm in record.arms.values())
        state = "earlier setting" if file.parent.name == "earlier" else "present"
        link = f"[{file.name}](./{file.relative_to(folder.parent)})"
        rows.append(f"| {link} | {state} | {record.created[:10]} | {len(record.arms)} | {seeds} | "
                    f"`{record.commit}` |")  # fmt: skip
    lines += ["| record | setting | made | conditions | seeds at most | commit |"]
    lines += ["|---|---|---|---:|---:|---|", *rows, ""]
    lines += [f"The claims, with their reasons: [claims.toml](./{key}/claims.toml)."]
    lines += [f"To make the record again: `kdnb reproduce {key}`.", ""]
    return lines


def _without_digest(file: Path) -> str:
    """A record's text; a file may carry the digest of its content beside it."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    return json.dumps({name: value for name, value in raw.items() if name != "digest"})


def _provenance(key: str) -> list[str]:
    """What made the record: commits, versions, hardware, data."""
    profile = main_profile(key)
    record = papers.read_record(key, profile)
    rows = [("record", f"<code>papers/{key}/results/{profile}.json</code>")]
    rows += [("SHA-256 of its content", f"<code>{record.digest}</code>"), ("made", record.created)]
    for number, made in enumerate(record.environments.values(), 1):
        which = f" {number}" * (len(record.environments) > 1)
        about = made.model_dump()
        rows.append(
            (f"commit{which}", f"<code>{made.commit}</code>{' (with changes)' * made.dirty}")
        )
        for part in sorted(set(about) - {"commit", "dirty"}):
            rows.append((f"{part}{which}", escape(_flat(about[part]))))
    for name, digests in record.data.items():
        for part, digest in digests.items():
            rows.append((f"data: {name}, {part}", f"<code>{digest}</code>"))
    rows.append(("parameters", escape(_flat(record.parameters))))
    return ["## Provenance", "", table(("", "profile " + profile), rows, "Provenance"), ""]


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    return str(value)


def _cited(key: str) -> list[str]:
    text = papers.cite(key, main_profile(key))
    return ["## How to cite", "", f"`kdnb cite {key}` prints this, also in other formats.", "",
            "```bibtex", text.rstrip(), "```"]  # fmt: skip


def _list(keys: Sequence[str], taught: dict[str, list[tuple[str, str]]]) -> str:
    """The papers that we reproduce, with the verdicts on their claims."""
    lines = [
        "# Papers",
        "",
        "The papers whose claims are tested here, by section of the survey.",
        "",
    ]
    rows = []
    for key in sorted(keys, key=lambda one: (taught.get(one, [("9", "")])[0][0], one)):
        words = " ".join(
            f"{badge(word)}&nbsp;{n}" for word, n in _counts(key)["claims"].items() if n
        )
        section = ", ".join(number for number, _ in taught.get(key, []))
        title = escape(plain(entry(key).fields["title"]))
        rows.append([section, f'<a href="{key}.html">{escape(short(key))}</a>', title, words])
    lines += [table(("section", "paper", "title", "claims of the paper"), rows, "Papers"), ""]
    return "\n".join(
        [
            *lines,
            "```{toctree}",
            ":hidden:",
            "",
            *(f"{short(key)} <{key}>" for key in sorted(keys)),
            "```",
            "",
        ]
    )
