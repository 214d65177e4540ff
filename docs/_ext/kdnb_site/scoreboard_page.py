"""The scoreboard: every claim with its verdict, to sort and to filter."""

from __future__ import annotations

import math
from html import escape

from kdnb import papers, paths
from kdnb.data.offered import card_of
from kdnb.papers import showing
from kdnb_site import chapters
from kdnb_site.paper_pages import (
    anchor,
    badge,
    filters,
    judged,
    main_profile,
    rows_with,
    short,
    wide,
    written,
)

COLUMNS = ("section", "paper", "claim", "verdict", "whose", "data", "published", "ours",
           "95% interval", "seeds")  # fmt: skip
FACETS = {"section": "Section", "verdict": "Verdict", "whose": "Whose", "data": "Data set"}

INTRODUCTION = """---
html_theme.sidebar_secondary.remove: true
---

# Scoreboard

Every claim that is tested here, and how it ended: see [how a claim is judged](docs/verdicts.md).
Click a heading, or press Enter on it, to sort. Numbers are those of a claim's first criterion; the
page of its paper has all.
"""


def pages() -> dict[str, str]:
    """The page of the scoreboard."""
    rows = [row for key in papers.reproduced_papers() for row in _rows(key)]
    rows.sort(key=lambda row: (row["section"], row["paper"]))
    facets = {}
    for facet, title in FACETS.items():
        source = "word" if facet == "verdict" else facet
        values = sorted({part for row in rows for part in row[source].split(", ")} - {""})
        facets[facet] = (title, values)
    marked = [
        (
            {
                "section": row["section"],
                "verdict": row["word"],
                "whose": row["whose"],
                "data": row["data"],
            },
            [row[name] for name in COLUMNS],
        )
        for row in rows
    ]
    table = wide(rows_with("verdict-table", COLUMNS, marked), "Scoreboard")
    parts = [INTRODUCTION, filters("verdict-table", facets), "", table, ""]
    return {"scoreboard.md": "\n".join(parts)}


def _rows(key: str) -> list[dict[str, str]]:
    section = ", ".join(
        number for number, _ in chapters.chapters_of(paths.root()).get(key, [("", "")])
    )
    record = papers.read_record(key, main_profile(key))
    sets = ", ".join(card_of(name).title for name in record.data)
    found = []
    for verdict, _ in judged(key, main_profile(key)):
        claim, main = verdict.claim, verdict.results[0]
        whose = "identity" if claim.identity else "ours" if claim.ours else "the paper's"
        found.append(
            {
                "section": section,
                "paper": f'<a href="papers/{key}.html">{escape(short(key))}</a>',
                "claim": f'<a href="papers/{key}.html#{anchor(key, claim.id)}">{escape(written(claim.title))}</a>',
                "verdict": badge(verdict.word),
                "word": verdict.word,
                "whose": whose,
                "data": "none" if claim.identity else sets,
                "published": showing._number(main.published),
                "ours": showing._number(main.mean),
                "95% interval": f"{main.low:.4g} to {main.high:.4g}"
                if math.isfinite(main.low)
                else "",
                "seeds": str(main.n or ""),
            }
        )
    return found
