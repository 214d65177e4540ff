"""The scoreboard: the verdicts on the claims of all papers.

A paper's own claims are counted by the six words. Identities, which algebra decides, and our own
questions are counted separately. Each paper is judged on one record: `full` if there is one, else
`laptop`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.table import Table

from kdnb import paths
from kdnb.papers import judging, published, results
from kdnb.papers.records import PaperError, read_record
from kdnb.papers.references import authors
from kdnb.progress import bar

JUDGED = ("full", "laptop")
SCHEMA = "verdicts.schema.json"  # beside verdicts.json
SHORT = {  # headings that fit
    "reproduced": "repro-\nduced",
    "partly reproduced": "partly",
    "contradicted": "contra-\ndicted",
    "inconclusive": "incon-\nclusive",
    "premise not met": "premise\nnot met",
    "not testable here": "not\ntestable",
}
README_BEGIN, README_END = "<!-- kdnb verdicts -->", "<!-- end -->"
LEGEND = "Our own questions: reproduced/asked. Identities: hold/checked."


def scoreboard() -> dict[str, Any]:
    """Every verdict and the counts, as plain data for JSON: the content of `verdicts.json`.

    `papers` has for each key its profile, the record's digest and its claims; `counts` has the
    papers' own claims by word, `identities` and `ours`.
    """
    papers, keys = {}, results.reproduced_papers()
    with closing(bar(len(keys), 0, "paper", delay=2)) as progress:
        for key in keys:
            papers[key] = _judged(key)
            progress.update()
    everything = [claim for paper in papers.values() for claim in paper["claims"].values()]
    return {"counts": counts(everything), "papers": papers}


def counts(claims: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of claims by word: the papers' own, with identities and our questions separate."""
    claims = list(claims)
    own = Counter(c["word"] for c in claims if not (c["identity"] or c["ours"]))
    ours = Counter(c["word"] for c in claims if c["ours"] and not c["identity"])
    identities = Counter(c["word"] for c in claims if c["identity"])
    return {
        "claims": {word: own[word] for word in judging.WORDS},
        "ours": {word: ours[word] for word in judging.WORDS},
        "identities": {
            "holds": identities["identity holds"],
            "fails": identities["identity fails"],
        },
    }


def judged_profile(key: str) -> str:
    """The profile of the record on which a paper is judged. Raises `PaperError` without a record."""
    profile = next((name for name in JUDGED if name in results.profiles(key)), None)
    if profile is None:
        raise PaperError(f"{key!r} has no record to judge: make one with kdnb reproduce {key}.")
    return profile


def _judged(key: str) -> dict[str, Any]:
    profile = judged_profile(key)
    record = read_record(key, profile)
    verdicts = judging.judge_all(results.claims_of(key), record.table())
    return {
        "profile": profile,
        "record": record.digest,
        "claims": {
            verdict.claim.id: {
                "word": verdict.word,
                "ours": verdict.claim.ours,
                "identity": verdict.claim.identity,
                "title": verdict.claim.title,
                "why": verdict.gist,
            }
            for verdict in verdicts
        },
    }


def path() -> Path:
    """The path of the committed scoreboard."""
    return paths.root() / "papers" / "verdicts.json"


def text() -> str:
    """The scoreboard as the JSON text that is committed; its first entry names its schema."""
    document = {"$schema": SCHEMA, **scoreboard()}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def schema_text() -> str:
    """The JSON schema of `text`, which is committed beside it."""
    return json.dumps(published.schema(), indent=1, ensure_ascii=False) + "\n"


def write() -> Path:
    """Write `papers/verdicts.json` and its schema, `papers/verdicts.schema.json`."""
    paths.atomic_write(path(), text())
    paths.atomic_write(path().parent / SCHEMA, schema_text())
    return path()


def into_readme(text: str, chapters: Mapping[str, Iterable[str]]) -> str:
    """The text of a README with this scoreboard between its two markers.

    Args:
        chapters: text of the first column -> the keys of the chapter's papers.

    Raises:
        ValueError: if the markers are missing.
    """
    head, begin, rest = text.partition(README_BEGIN)
    _, end, tail = rest.partition(README_END)
    if not (begin and end):
        raise ValueError(
            f"the README has no {README_BEGIN} and {README_END} around its scoreboard."
        )
    return f"{head}{begin}\n{markdown(chapters).strip()}\n{end}{tail}"


def is_current() -> bool:
    """Whether the committed scoreboard matches the current claims and records."""
    return path().is_file() and path().read_bytes() == text().encode()


def rows(board: Mapping[str, Any] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """(key, counts) of each paper, from the current scoreboard or a given one."""
    papers = (board or scoreboard())["papers"]
    return [(key, counts(paper["claims"].values())) for key, paper in papers.items()]


def table() -> Table:
    """The scoreboard for a terminal of 80 columns."""
    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), caption=LEGEND)
    shown.caption_justify = "left"
    shown.add_column("paper", no_wrap=True)
    for word in judging.WORDS:
        shown.add_column(SHORT[word], justify="right")
    shown.add_column("our\nown", justify="right")
    shown.add_column("iden-\ntities", justify="right")
    board = scoreboard()
    for key, counted in rows(board):
        shown.add_row(key, *_cells(counted))
    shown.add_section()
    shown.add_row("all", *_cells(board["counts"]), style="bold")
    return shown


def _cells(counted: Mapping[str, Any]) -> list[str]:
    own = [str(counted["claims"][word] or "") for word in judging.WORDS]
    ours = counted["ours"]
    asked = f"{ours['reproduced']}/{sum(ours.values())}" if sum(ours.values()) else ""
    identities = counted["identities"]
    checked = sum(identities.values())
    return [*own, asked, f"{identities['holds']}/{checked}" if checked else ""]


def markdown(chapters: Mapping[str, Iterable[str]] | None = None) -> str:
    """The scoreboard as a Markdown table, for the README.

    Args:
        chapters: chapter -> the keys of its papers, for one row per chapter; else one row per paper.
    """
    board = scoreboard()
    found = {key: list(paper["claims"].values()) for key, paper in board["papers"].items()}
    if chapters is None:
        grouped = {f"{authors(key)} (`{key}`)": found[key] for key in found}
    else:
        grouped = {
            chapter: [claim for key in keys for claim in found.get(key, ())]
            for chapter, keys in chapters.items()
        }
    heads = ["paper" if chapters is None else "chapter", *judging.WORDS, "our own", "identities"]
    lines = [f"| {' | '.join(heads)} |", f"|---{'|---:' * (len(heads) - 1)}|"]
    for name, claims in grouped.items():
        if claims:
            lines.append(f"| {name} | {' | '.join(_cells(counts(claims)))} |")
    lines.append(f"| **all** | {' | '.join(_cells(board['counts']))} |")
    return "\n".join([*lines, "", LEGEND]) + "\n"
