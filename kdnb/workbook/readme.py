"""What the README takes from records: its table of chapters with verdicts, and its line on speed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdnb import paths
from kdnb.papers import scoreboard
from kdnb.workbook import runner

SPEED_BEGIN, SPEED_END = "<!-- kdnb speed -->", "<!-- end speed -->"
# Where the ratios of KD at ResNet-20 size stand in docs/benchmarks.json, the better source first: a
# part, and its rows for known answers of the teacher and for none.
RATIOS = (
    (
        "peers",
        "ResNet-20, KD: plain script, 2 workers / ours, all answers known",
        "ResNet-20, KD: plain script, 2 workers / ours, no answer known",
    ),
    (
        "steps",
        "KD, all answers known: plain script / ours",
        "KD, no answer known: plain script / ours",
    ),
)


def with_scoreboard(text: str) -> str:
    """A README's text with one row a chapter that judges papers, as they are judged today."""
    chapters = {
        f"[{item.number.replace('-', '.')} {item.title}](notebooks/{item.name}.ipynb)": item.papers
        for item in runner.chapters()
    }
    return scoreboard.into_readme(text, chapters)


def with_speed(text: str, parts: Mapping[str, Any]) -> str:
    """A README's text with the ratio that was measured last, between its two markers.

    Args:
        parts: of docs/benchmarks.json.

    Raises:
        ValueError: when the markers are not there, or nobody has measured the ratio.
    """
    head, begin, rest = text.partition(SPEED_BEGIN)
    _, end, tail = rest.partition(SPEED_END)
    if not (begin and end):
        raise ValueError(f"the README has no {SPEED_BEGIN} and {SPEED_END} around its ratio.")
    return f"{head}{begin}{speed(parts)}{end}{tail}"


def speed(parts: Mapping[str, Any]) -> str:
    """How much faster distillation is than a plain script, in one phrase.

    Raises:
        ValueError: when nobody has measured it.
    """
    for part, known, none in RATIOS:
        found = {row["name"]: row["value"] for row in parts.get(part, {}).get("rows", ())}
        if known in found and none in found:
            on = parts[part]
            return (
                f"KD of a ResNet-20 is {found[known]:.1f} times as fast as a plain script where the "
                f"teacher's answers are known and {found[none]:.1f} times where none is, on "
                f"{on['hardware']['cores']} cores in {on['arithmetic']}"
            )
    raise ValueError("docs/benchmarks.json has no ratio of KD: run kdnb bench peers.")


def write_readme() -> Path:
    """Bring the README's table and its line on speed up to date."""
    path = paths.root() / "README.md"
    text = with_scoreboard(path.read_text(encoding="utf-8"))
    paths.atomic_write(path, with_speed(text, measured()))
    return path


def measured() -> dict[str, Any]:
    """The parts of the committed benchmarks."""
    path = paths.root() / "docs" / "benchmarks.json"
    return json.loads(path.read_text(encoding="utf-8"))
