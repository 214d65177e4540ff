"""The index of the systems that the survey names, where `papers/systems.csv` lists them."""

from __future__ import annotations

import csv
from html import escape
from pathlib import Path

from kdnb.names import UsageError
from kdnb.papers import bibliography, reproduced_papers
from kdnb.papers.references import authors
from kdnb.workbook.where import where
from kdnb_site.paper_pages import wide

HEADS = ("section", "system", "paper", "code", "chapter", "claims")

INTRODUCTION = """---
html_theme.sidebar_secondary.remove: true
---

# Systems

The systems that the survey names, and where each is in this workbook. `kdnb where NAME` prints the
same for one of them. Click a heading, or press Enter on it, to sort.
"""


def pages(root: Path) -> dict[str, str]:
    """The page of the index; nothing where there is no list."""
    path = root / "papers/systems.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [_row(system) for system in csv.DictReader(file)]
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADS)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = (
        '<table id="system-table" class="kdnb-table sortable asc n-last"><thead>'
        f"<tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
    return {"systems.md": f"{INTRODUCTION}\n{wide(table, 'Systems')}\n"}


def _row(system: dict[str, str]) -> list[str]:
    key = system["key"]
    try:
        found = where(key)
    except UsageError:  # listed before there is anything of it
        found = {}
    code = [line.split(" ")[0] for part in ("loss", "scheme") for line in found.get(part, [])]
    links = [
        f'<a href="{Path(line).with_suffix(".html")}">{Path(line).stem[:3].rstrip("-ab").replace("-", ".")}</a>'
        for line in found.get("chapter", [])
    ]
    cited = escape(authors(key)) if key in bibliography().entries else escape(key)
    claims = f'<a href="papers/{key}.html">claims</a>' if key in reproduced_papers() else ""
    shown = "<br>".join(f"<code>{escape(line)}</code>" for line in dict.fromkeys(code))
    return [system["section"], escape(system["name"]), cited, shown, ", ".join(links), claims]
