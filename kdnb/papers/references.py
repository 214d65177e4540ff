"""The bibliography: the entries of `papers/references.bib`, and their conversion to other formats.

pybtex does the formatting; only CSL-JSON, the format of reference managers, is mapped here.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pybtex.database import BibliographyData, Entry, Person, parse_file
from pybtex.exceptions import PybtexError
from pybtex.plugin import find_plugin

from kdnb import paths
from kdnb.names import brief, nearest
from kdnb.papers.records import PaperError, UnknownPaper

CSL_TYPES = {
    "article": "article-journal",
    "inproceedings": "paper-conference",
    "techreport": "report",
    "phdthesis": "thesis",
    "book": "book",
}
CSL_FIELDS = {  # BibTeX -> CSL
    "volume": "volume",
    "number": "issue",
    "pages": "page",
    "publisher": "publisher",
    "institution": "publisher",
    "doi": "DOI",
    "url": "URL",
}


def path() -> Path:
    """The path of the bibliography."""
    return paths.root() / "papers" / "references.bib"


def bibliography() -> BibliographyData:
    """Every entry of `papers/references.bib`. Raises `PaperError` if it cannot be read."""
    with _sound(f"{path()} is damaged"):
        return _parsed(path())


@contextlib.contextmanager
def _sound(words: str) -> Iterator[None]:
    """Report any error inside the block as damage to the bibliography."""
    try:
        yield
    except PaperError:
        raise
    except (PybtexError, KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())[:200].rstrip(".")
        raise PaperError(
            f"{words} ({type(error).__name__}: {said}): restore it from git."
        ) from error


def _of_entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function of a key so that a damaged entry gives an error of one sentence."""

    @functools.wraps(function)
    def called(key: str, *arguments: Any, **named: Any) -> Any:
        with _sound(f"the entry {key} of {path()} is damaged"):
            return function(key, *arguments, **named)

    return called


def entry(key: str) -> Entry:
    """The entry of a key. Raises `PaperError` naming the nearest ones when unknown."""
    entries = bibliography().entries
    if key not in entries:
        hint = nearest(key, entries)
        raise UnknownPaper(f"There is no entry {brief(key)} in the bibliography ({hint}).")
    return entries[key]


@_of_entry
def bibtex(key: str) -> str:
    """The BibTeX entry of a key. Raises `PaperError` naming the nearest ones when unknown."""
    text = BibliographyData({key: entry(key)}).to_string("bibtex").strip()
    # pybtex formats an address like prose, in which underscores get a backslash
    return re.sub(r'url = ".*"', lambda found: found[0].replace(r"\_", "_"), text)


@_of_entry
def reference(key: str, format: str = "text") -> str:
    """One line for a list of references: authors, title, venue, year.

    Args:
        key: a key of the bibliography.
        format: a backend of pybtex: `text`, `markdown`, `latex` or `html`.
    """
    style = find_plugin("pybtex.style.formatting", "unsrt")()
    backend = find_plugin("pybtex.backends", format)()
    (formatted,) = style.format_entries([_with_arxiv(entry(key), key)])
    line = formatted.text.render(backend).replace("\n", " ")
    return line.replace(r"\.", ".").replace(r"\-", "-") if format == "markdown" else line


@_of_entry
def csl(key: str) -> dict[str, Any]:
    """The entry as a CSL-JSON item for Zotero, Pandoc and others."""
    source = entry(key)
    item: dict[str, Any] = {
        "id": key,
        "type": "software" if key == "kdnb" else CSL_TYPES.get(source.type, "article"),
        "title": plain(source.fields["title"]),
        "author": [_name(person) for person in source.persons["author"]],
        "issued": {"date-parts": [[int(source.fields["year"])]]},
    }
    for field in ("journal", "booktitle"):
        if field in source.fields:
            item["container-title"] = plain(source.fields[field])
    for field, name in CSL_FIELDS.items():
        if field in source.fields:
            item[name] = plain(source.fields[field]).replace("--", "-")
    if source.fields.get("archiveprefix") == "arXiv":
        item["number" if item["type"] == "article" else "archive_location"] = (
            f"arXiv:{source.fields['eprint']}"
        )
        item.setdefault("URL", f"https://arxiv.org/abs/{source.fields['eprint']}")
    return item


@_of_entry
def authors(key: str) -> str:
    """A short name for tables: `Hinton et al. 2015`."""
    source = entry(key)
    names = [plain(" ".join(person.last_names)) for person in source.persons["author"]]
    who = names[0] if len(names) == 1 else f"{names[0]} and {names[1]}"
    return f"{who if len(names) < 3 else f'{names[0]} et al.'} {source.fields['year']}"


def plain(text: str) -> str:
    """A field of a BibTeX entry without LaTeX: accents as letters, no braces."""
    from pybtex.richtext import Text

    return str(Text.from_latex(text)).replace("``", "“").replace("''", "”")


def _name(person: Person) -> dict[str, str]:
    given = " ".join(person.first_names + person.middle_names)
    family = " ".join(person.prelast_names + person.last_names)
    if not given:
        return {"literal": plain(family)}
    return {"family": plain(family), "given": plain(given)}


def _with_arxiv(source: Entry, key: str) -> Entry:
    """A copy that pybtex's style can number; the note that repeats an arXiv number goes."""
    fields = dict(source.fields)
    if "eprint" in fields and fields["eprint"] in fields.get("note", ""):
        fields["note"] = fields["note"].split(";")[0] if ";" in fields["note"] else ""
    copy = Entry(source.type, fields={k: v for k, v in fields.items() if v}, persons=source.persons)
    copy.key = key
    return copy


@functools.cache
def _parsed(path: Path) -> BibliographyData:
    return parse_file(str(path), bib_format="bibtex")
