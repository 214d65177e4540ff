"""Chapters: the committed notebooks, with their figures as figures and links that lead somewhere.

What was executed stays as it is. A picture and the caption below it become one figure that can be
linked to; the still picture of an explorer goes, since scripts run here; the tables of a page get
ids of their own; and links between headings are spelled as this site spells them.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from kdnb.papers import reproduced_papers
from kdnb.papers.references import authors
from kdnb.workbook.chapter import VERDICTS_MIME

CAPTION = re.compile(r"\*\*Figure (\d+)\.\*\*")
STYLER = "T_kdnb"  # the id that pandas gives to our tables, the same for all of a page


def pages(path: Path) -> dict[str, str | bytes]:
    """The laid-out notebook and its pictures."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, str | bytes] = {}
    tables = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _linked("".join(cell["source"]))
        elif cell["cell_type"] == "code":
            cell["outputs"] = _figures(cell["outputs"], path.stem, found)
            for output in cell["outputs"]:
                data = output.get("data", {})
                data.pop(VERDICTS_MIME, None)  # for programs; its text stays
                if "text/markdown" in data:
                    data["text/markdown"] = _linked("".join(data["text/markdown"]))
                tables += _own_ids(output, tables)
    _announce_records(notebook)
    notebook["cells"] = [cell for cell in notebook["cells"] if "".join(cell["source"]).strip()]
    text = json.dumps(notebook, ensure_ascii=False, sort_keys=True)
    return {f"notebooks/{path.name}": text, **found}


def _linked(text: str) -> str:
    """Links as this site has them.

    To headings, `(#The-same-on-Cora)` in Jupyter's spelling; to the code of a loss or a method,
    which has its page in the reference. Tests have no page here: their names remain.
    """

    def spelled(match: re.Match[str]) -> str:
        words = re.sub(r"[^\w\- ]", "", match[2].replace("-", " ").lower())
        return f"]({match[1]}#{words.strip().replace(' ', '-')})"

    def page(match: re.Match[str]) -> str:
        return f"](../reference/kdnb.{match[1].replace('/', '.')}.rst)"

    text = re.sub(r"\]\(\.\./kdnb/((?:losses|methods)/[\w/]+)\.py\)", page, text)
    text = re.sub(r"\[([^\]]+)\]\(\.\./tests/[\w/]+\.py\)", r"`\1`", text)
    return re.sub(r"\]\(([\w./-]*)#([^)\s]+)\)", spelled, text)


def _figures(
    outputs: list[dict[str, Any]], stem: str, found: dict[str, str | bytes]
) -> list[dict[str, Any]]:
    """Each picture and its caption as one figure; adds the pictures to `found`."""
    made: list[dict[str, Any]] = []
    for place, output in enumerate(outputs):
        data = output.get("data", {})
        after = outputs[place + 1].get("data", {}) if place + 1 < len(outputs) else {}
        if "image/png" in data:
            if "".join(after.get("text/html", "")).startswith('<div id="kdnb-'):
                continue  # the still picture of the explorer that follows
            png = base64.b64decode("".join(data["image/png"]))
            alt = output["metadata"].get("image/png", {}).get("alt") or "".join(data["text/plain"])
            caption = "".join(after.get("text/markdown", ""))
            name = f"{stem}-{sum(name.endswith('.png') for name in found) + 1}.png"
            found[f"notebooks/pictures/{name}"] = png
            made.append(_markdown(_figure(f"pictures/{name}", alt, caption, stem)))
        elif CAPTION.match("".join(data.get("text/markdown", ""))):
            before = outputs[place - 1].get("data", {}) if place else {}
            if "image/png" not in before:  # the caption of an explorer, or of something else
                made.append(output)
        else:
            made.append(output)
    return made


def _figure(source: str, alt: str, caption: str, stem: str) -> str:
    """A figure of MyST, named after the chapter and its number."""
    number = CAPTION.match(caption)
    chapter = "-".join(re.findall(r"^\d+(?:-\d+)?", stem)) or stem
    name = f":name: figure-{chapter}-{number[1]}\n" if number else ""
    alt = " ".join(alt.split())
    return f"``````{{figure}} {source}\n{name}:alt: {alt}\n\n{caption}\n``````"


def _markdown(text: str) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": text}}


def _own_ids(output: dict[str, Any], before: int) -> int:
    """Give the table of an output an id that no other of the page has."""
    html = "".join(output.get("data", {}).get("text/html", ""))
    if f'"{STYLER}"' not in html:
        return 0
    output["data"]["text/html"] = html.replace(STYLER, f"{STYLER}{before + 1}")
    return 1


def _announce_records(notebook: dict[str, Any]) -> None:
    """Below a chapter's introduction: the papers whose claims it judges."""
    keys = notebook["metadata"].get("kdnb", {}).get("papers", [])
    links = [f"[{authors(key)}](../papers/{key}.md)" for key in keys if key in reproduced_papers()]
    if links:
        line = f"\n\n**Records of this chapter:** {', '.join(links)}. [All verdicts](../scoreboard.md)."
        notebook["cells"][0]["source"] = "".join(notebook["cells"][0]["source"]) + line


def chapters_of(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Paper's key -> the (number, file name) of the chapters that judge its claims."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(
        (root / "notebooks").glob("[0-9]*.ipynb")
    ):  # those of one's own have no number
        number = ".".join(re.findall(r"^(\d+)(?:-(\d+))?", path.stem)[0]).rstrip(".")
        for key in json.loads(path.read_text())["metadata"].get("kdnb", {}).get("papers", []):
            found.setdefault(key, []).append((number, path.name))
    return found
