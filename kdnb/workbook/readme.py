"""The generated parts of the README: the table of verdicts by chapter, and the line on speed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdnb import paths
from kdnb.papers import scoreboard
from kdnb.workbook import runner

SPEED_BEGIN, SPEED_END = "<!-- kdnb speed -->", "<!-- end speed -->"
# Where docs/benchmarks.json has the ratios for KD of a ResNet-20, the preferred source first: a part,
# then its rows with all teacher outputs cached and with none.
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
    """The README's text with one row for each chapter that judges papers, brought up to date."""
    chapters = {
        f"[{item.number.replace('-', '.')} {item.title}](notebooks/{item.name}.ipynb)": item.papers
        for item in runner.chapters()
    }
    return scoreboard.into_readme(text, chapters)


def with_speed(text: str, parts: Mapping[str, Any]) -> str:
    """The README's text with the latest measured ratio between its two markers.

    Args:
        parts: the parts of docs/benchmarks.json.

    Raises:
        ValueError: if the markers are missing, or the ratio has not been measured.
    """
    head, begin, rest = text.partition(SPEED_BEGIN)
    _, end, tail = rest.partition(SPEED_END)
    if not (begin and end):
        raise ValueError(f"the README has no {SPEED_BEGIN} and {SPEED_END} around its ratio.")
    return f"{head}{begin}{speed(parts)}{end}{tail}"


def speed(parts: Mapping[str, Any]) -> str:
    """How much faster distillation is than a plain script, in one phrase.

    Raises:
        ValueError: if it has not been measured.
    """
    for part, known, none in RATIOS:
        found = {row["name"]: row["value"] for row in parts.get(part, {}).get("rows", ())}
        if known in found and none in found:
            on = parts[part]
            return (
                f"KD of a ResNet-20 is {found[known]:.1f} times as fast as a plain script where all "
                f"teacher outputs are cached and {found[none]:.1f} times where none are, on "
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
