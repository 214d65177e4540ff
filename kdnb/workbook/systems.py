"""The index of systems: all systems that the survey's sections name, and how each is covered here.

`papers/systems.csv` has one row per system: its section, its key in the bibliography, its name. Everything
else is looked up on demand, so that it cannot become outdated.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from kdnb import papers, paths
from kdnb.methods import METHODS
from kdnb.workbook.where import WIDTH, letters, public, read_chapter, where

STANDINGS = {
    "judged": "its claims are registered, and a record of ours decides them",
    "illustrated": "its code is here and tested, and a chapter names the paper and how it is called",
    "named": "the bibliography has it; its method is not taught here",
}
COLUMNS = [
    "section",
    "key",
    "name",
    "standing",
    "code",
    "tests",
    "chapters",
    "runs",
    "record",
    "link",
]


def path() -> Path:
    """The path of the list of systems."""
    return paths.root() / "papers" / "systems.csv"


def systems() -> pd.DataFrame:
    """All systems in the order of the survey's sections, one row each.

    Columns: `section`, `key` (of the bibliography), `name`, `standing` (one of `STANDINGS`), then
    tuples of paths from the checkout's root: `code`, `tests`, `chapters` (which name the paper),
    `runs` (those of them whose cells run the code) and `record`; and `link`, an address of the
    paper, empty if unknown.
    """
    listed = pd.read_csv(path(), dtype=str, keep_default_na=False)
    rows = [(one.section, one.key, one.name, *_found(one.key)) for one in listed.itertuples(False)]
    return pd.DataFrame(rows, columns=COLUMNS)


def shown() -> str:
    """The index as text of at most 80 columns, with the meaning and count of each standing."""
    index = systems()
    lines = [
        f"{row.section:<4}{row.standing:<12}{row.key:<25}{row.name}"[:WIDTH]
        for row in index.itertuples(index=False)
    ]
    counts = index["standing"].value_counts()
    for word, meaning in STANDINGS.items():
        said = f"{word} ({counts.get(word, 0)}): {meaning}"
        lines += ["", *textwrap.wrap(said, WIDTH, subsequent_indent="  ")]
    return "\n".join([*lines, "", "kdnb where KEY shows the code, the tests and the chapters."])


def markdown() -> str:
    """The index as a Markdown table, with links relative to a chapter."""
    lines = ["| section | system | standing | chapter | code | test |", "|---|---|---|---|---|---|"]
    for row in systems().itertuples(index=False):
        name = f"[{row.name}]({row.link})" if row.link else row.name
        chapters = _numbered(row.runs or row.chapters) if row.standing != "named" else ""
        cells = [row.section, name, row.standing, chapters, _stems(row.code), _stems(row.tests)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _stems(files: Iterable[str]) -> str:
    """Links to files, labelled by their base names: `[crd](../kdnb/losses/crd.py)`."""
    return ", ".join(f"[{Path(one).stem}](../{one})" for one in files)


def _numbered(chapters: Iterable[str]) -> str:
    """Links to chapters: `[2.2](2-2-feature-based-knowledge.ipynb)`."""
    names = [Path(one).name for one in chapters]
    numbers = [re.match(r"\d+(-\d+)*", name)[0].replace("-", ".") for name in names]
    return ", ".join(f"[{n}]({name})" for n, name in zip(numbers, names, strict=True))


def standing(key: str) -> str:
    """How the paper of this key is covered here: one of `STANDINGS`."""
    return _found(key)[0]


def link(key: str) -> str:
    """An address of a paper: arXiv, a DOI, or the publisher's page; empty if unknown."""
    fields = papers.bibliography().entries[key].fields
    if fields.get("archiveprefix") == "arXiv":
        return f"https://arxiv.org/abs/{fields['eprint']}"
    return f"https://doi.org/{fields['doi']}" if "doi" in fields else fields.get("url", "")


def naming(key: str) -> tuple[str, ...]:
    """The chapters whose text names a paper, by its title or one of its addresses."""
    fields = papers.bibliography().entries[key].fields
    marks = [fields[name] for name in ("eprint", "doi", "url") if name in fields]
    title = letters(fields["title"])[:40]
    found = []
    for file in sorted((paths.root() / "notebooks").glob("*.ipynb")):
        chapter = read_chapter(file)
        if any(mark in chapter.prose for mark in marks) or title in chapter.letters:
            found.append(str(file.relative_to(paths.root())))
    return tuple(found)


def _found(key: str) -> tuple:
    there = where(key)
    files = dict.fromkeys(line.split(" (")[0] for line in [*there["loss"], *there["scheme"]])
    code, tests, chapters = tuple(files), tuple(there["test"]), naming(key)
    judged = key in papers.reproduced_papers() and papers.profiles(key)
    record = tuple(line for line in there["record"] if line.startswith(f"papers/{key}/"))
    read = {chapter: read_chapter(paths.root() / chapter) for chapter in chapters}
    calls = _calls(key, code)
    runs = tuple(chapter for chapter, one in read.items() if calls.search(one.code))
    shown = runs or any(calls.search(one.prose) for one in read.values())
    word = "judged" if judged else "illustrated" if code and tests and shown else "named"
    return word, code, tests, chapters, runs, record, link(key)


def _calls(key: str, code: tuple[str, ...]) -> re.Pattern:
    """A pattern for text that calls a paper's code: a function of these files, or a method's name."""
    names = [re.escape(one) for file in code for one in public(paths.root() / file)]
    methods = [f'"{name}"' for name, method in METHODS.items() if method.paper == key]
    functions = [rf"(?<!\w)(?:{'|'.join(names)})\b"] if names else []
    return re.compile("|".join([*functions, *methods]) or r"(?!)")
