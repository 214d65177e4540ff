"""The index of the systems that the survey's readings name, where `papers/systems.csv` lists them."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from kdnb.papers.references import authors
from kdnb.workbook import systems
from kdnb_site.paper_pages import filters, rows_with, wide

HEADS = ("section", "system", "paper", "standing", "chapter", "code")

INTRODUCTION = """---
html_theme.sidebar_secondary.remove: true
---

# Systems

The systems that the survey's readings name, and how far each is taught here. Click a heading, or
press Enter on it, to sort. `kdnb where NAME` prints more about one of them.

"""


def pages(root: Path) -> dict[str, str]:
    """The page of the index; nothing where there is no list."""
    if not (root / "papers/systems.csv").is_file():
        return {}
    found = list(systems.systems().itertuples(index=False))
    meant = "".join(f"- *{word}*: {said}.\n" for word, said in systems.STANDINGS.items())
    facets = {
        "section": ("Section", sorted({row.section for row in found})),
        "standing": ("Standing", [w for w in systems.STANDINGS if any(r.standing == w for r in found)]),
    }  # fmt: skip
    rows = [({"section": row.section, "standing": row.standing}, _cells(row)) for row in found]
    table = rows_with("system-table", HEADS, rows)
    parts = [INTRODUCTION + meant, filters("system-table", facets), "", wide(table, "Systems"), ""]
    return {"systems.md": "\n".join(parts)}


def _cells(row: Any) -> list[str]:
    name = escape(row.name)
    standing = row.standing
    if standing == "judged":
        standing = f'<a href="papers/{row.key}.html">judged</a>'
    chapters = [] if row.standing == "named" else row.runs or row.chapters
    links = [f'<a href="{Path(one).with_suffix(".html")}">{_number(one)}</a>' for one in chapters]
    cited = escape(authors(row.key))
    return [
        row.section,
        f'<a href="{escape(row.link, quote=True)}">{name}</a>' if row.link else name,
        cited,
        standing,
        ", ".join(links),
        "<br>".join(map(_code, row.code)),
    ]


def _number(path: str) -> str:
    """`2.3`, of the file of a chapter."""
    return re.match(r"\d+(-\d+)*|", Path(path).stem)[0].replace("-", ".") or Path(path).stem


def _code(path: str) -> str:
    """A file of the package, with a link to its page of the reference."""
    module = path.removesuffix(".py").replace("/", ".")
    shown = f"<code>{escape(path.removeprefix('kdnb/'))}</code>"
    apart = module.startswith(("kdnb.losses.", "kdnb.methods."))
    public = path.endswith(".py") and not Path(path).name.startswith("_")
    return f'<a href="reference/{module}.html">{shown}</a>' if apart and public else shown
