"""The README's table of chapters, with the verdicts of their papers."""

from __future__ import annotations

from pathlib import Path

from kdnb import paths
from kdnb.papers import scoreboard
from kdnb.workbook import runner


def with_scoreboard(text: str) -> str:
    """A README's text with one row a chapter that judges papers, as they are judged today."""
    chapters = {
        f"[{item.number.replace('-', '.')} {item.title}](notebooks/{item.name}.ipynb)": item.papers
        for item in runner.chapters()
    }
    return scoreboard.into_readme(text, chapters)


def write_readme() -> Path:
    """Bring the README's table up to date."""
    path = paths.root() / "README.md"
    paths.atomic_write(path, with_scoreboard(path.read_text(encoding="utf-8")))
    return path
