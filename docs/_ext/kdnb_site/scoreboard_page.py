"""The scoreboard: every claim with its verdict, to sort and to filter."""

from __future__ import annotations

import math
from html import escape

from kdnb import papers, paths
from kdnb.papers import showing
from kdnb_site import chapters
from kdnb_site.paper_pages import anchor, badge, judged, main_profile, short, wide

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
    parts = [INTRODUCTION, _filters(rows), "", _table(rows), ""]
    return {"scoreboard.md": "\n".join(parts)}


def _rows(key: str) -> list[dict[str, str]]:
    section = ", ".join(
        number for number, _ in chapters.chapters_of(paths.root()).get(key, [("", "")])
    )
    record = papers.read_record(key, main_profile(key))
    sets = ", ".join(name.replace("_", "-") for name in record.data)
    found = []
    for verdict, _ in judged(key, main_profile(key)):
        claim, main = verdict.claim, verdict.results[0]
        whose = "identity" if claim.identity else "ours" if claim.ours else "the paper's"
        found.append(
            {
                "section": section,
                "paper": f'<a href="papers/{key}.html">{escape(short(key))}</a>',
                "claim": f'<a href="papers/{key}.html#{anchor(key, claim.id)}">{escape(claim.title)}</a>',
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


def _filters(rows: list[dict[str, str]]) -> str:
    """A list for each facet, and a field for words."""
    lists = []
    for facet, title in FACETS.items():
        source = "word" if facet == "verdict" else facet
        values = sorted({part for row in rows for part in row[source].split(", ")} - {""})
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        lists.append(
            f'<label>{title} <select data-facet="{facet}"><option value="">all</option>{options}'
            "</select></label>"
        )
    lists.append('<label>Words <input type="search" data-facet="words"></label>')
    return f'<form class="kdnb-filters" data-table="verdict-table">{"".join(lists)}<output></output></form>'


def _table(rows: list[dict[str, str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = []
    for row in rows:
        facets = {"section": row["section"], "verdict": row["word"], "whose": row["whose"],
                  "data": row["data"]}  # fmt: skip
        marks = "".join(
            f' data-{name}="{escape(value, quote=True)}"' for name, value in facets.items()
        )
        cells = "".join(f"<td>{row[name]}</td>" for name in COLUMNS)
        body.append(f"<tr{marks}>{cells}</tr>")
    html = (
        '<table id="verdict-table" class="kdnb-table sortable asc n-last"><thead>'
        f"<tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )
    return wide(html, "Scoreboard")
