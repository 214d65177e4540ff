"""Where everything about a method or a paper is: `kdnb where crd`. Only existing files are listed."""

from __future__ import annotations

import ast
import functools
import json
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdnb import papers, paths
from kdnb.methods import METHODS, names
from kdnb.names import UsageError, brief, nearest

WIDTH = 80
PARTS = ("what", "paper", "loss", "scheme", "test", "chapter", "claims", "record")


def where(name: str) -> dict[str, list[str]]:
    """The files about a method or a paper, as paths from the checkout's root.

    Args:
        name: a method of the catalogue (any spelling), a file of `kdnb/losses` or
            `kdnb/methods`, a paper's key in `papers/references.bib`, or a function or class that one
            of these files defines.

    Returns:
        For each of `PARTS`, a list of lines, possibly empty. A path is followed, in brackets, by what
        to look for in it.

    Raises:
        UsageError: for an unknown name; names the nearest.
    """
    known = names.common(name)
    if known in METHODS:
        return _method(known)
    keys = set(papers.bibliography().entries.keys())
    stems = _stems()
    if name in keys:
        taught = [one for one, method in METHODS.items() if method.paper == name]
        if taught:
            return _merged([_method(one) for one in taught])
        return _scheme(_stem_of(name), name)
    if name in stems:
        cited = sorted(key for key in keys if name in _stem_of(key).split())
        if len(cited) == 1:
            return {**_scheme(_stem_of(cited[0]), cited[0]), "what": [f'"{name}"']}
        return {**_scheme(name, None), "paper": [_cited(key)[0] for key in cited]}
    if owners := [path for path in _every_file() if name in public(path)]:
        found = _scheme(" ".join(dict.fromkeys(path.stem for path in owners)), None)
        return {**found, "what": [f"{_relative(path)} ({name})" for path in owners]}
    if name.lower() in stems:
        return where(name.lower())
    raise UsageError(
        f"there is no method, file or paper {brief(name)} ({nearest(name, dict.fromkeys([*METHODS, *stems, *keys]))})."
    )


def shown(name: str) -> str:
    """`where` as text of at most 80 columns; `none` for empty parts."""
    lines = []
    for part, found in where(name).items():
        for label, line in zip([part, *[""] * len(found)], found or ["none"], strict=False):
            lines += textwrap.wrap(
                line, WIDTH, initial_indent=f"{label:<9}", subsequent_indent=" " * 11,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return "\n".join(lines)


def _method(name: str) -> dict[str, list[str]]:
    method = METHODS[name]
    options = ", ".join(f"{key}={value!r}" for key, value in method.options.items()) or "none"
    row = _relative(Path(names.__file__).with_name("catalogue.py"))
    loss = _relative(method.file)
    record = _records(method.paper)
    recorded = names.former(name)
    for path in sorted((paths.root() / "papers").glob("*/results/*.json")):
        known = _arms(path, path.stat().st_mtime_ns)
        arms = [arm for arm in known if arm.startswith(f"{recorded}_")]
        if arms and _relative(path) not in record:
            record.append(f"{_relative(path)} ({', '.join(arms)})")
    return {
        "what": [f'method "{name}": {method.title}, {method.section}; options: {options}; {row}'],
        "paper": _cited(method.paper),
        "loss": [f"{loss} ({method.loss})"],
        "scheme": _existing([f"kdnb/methods/{method.scheme.replace('.', '/')}.py"]),
        "test": _tests([paths.root() / loss], [method.loss])
        + _existing(["tests/methods/test_contract.py"]),
        "chapter": _existing(
            [str(path.relative_to(paths.root()))
             for path in (paths.root() / "notebooks").glob(f"{method.chapter}-*.ipynb")]
        ),
        "claims": _existing([f"papers/{method.paper}/claims.toml"]),
        "record": record,
    }  # fmt: skip


def _scheme(stem: str, key: str | None) -> dict[str, list[str]]:
    losses, schemes = (
        [path for one in stem.split() for path in _files(folder, one)]
        for folder in ("kdnb/losses", "kdnb/methods")
    )
    return {
        "what": [f'"{stem}"' if losses or schemes else f"the paper {key}"],
        "paper": _cited(key) if key else [],
        "loss": [_relative(path) for path in losses],
        "scheme": [_relative(path) for path in schemes],
        "test": _tests([*losses, *schemes]),
        "chapter": _chapters(key, [*losses, *schemes]),
        "claims": _existing([f"papers/{key}/claims.toml"]),
        "record": _records(key) if key else [],
    }


def _merged(found: list[dict[str, list[str]]]) -> dict[str, list[str]]:
    return {
        part: list(dict.fromkeys(line for one in found for line in one[part])) for part in PARTS
    }


def _cited(key: str) -> list[str]:
    entry = papers.bibliography().entries[key]
    title = re.sub(r"[{}]", "", entry.fields["title"])
    return [f"{key}: {title} ({entry.fields['year']}); papers/references.bib"]


def _records(key: str) -> list[str]:
    found = (paths.root() / "papers" / key / "results").glob("*.json")
    return sorted(_relative(path) for path in found)


def _stem_of(key: str) -> str:
    """The files that a key refers to, from the part after the year: `dml` for `zhang2018dml`."""
    if key in names.FILES:
        return names.FILES[key]
    found = re.fullmatch(r"[a-z]+\d{4}([a-z]\w*)", key)
    return found[1] if found else key


def _every_file() -> list[Path]:
    folders = (paths.root() / "kdnb" / room for room in ("losses", "methods"))
    files = (path for folder in folders for path in folder.rglob("*.py"))
    return sorted(path for path in files if not path.stem.startswith("_"))


def _stems() -> set[str]:
    return {path.stem for path in _every_file()}


def _files(folder: str, stem: str) -> list[Path]:
    return sorted((paths.root() / folder).rglob(f"{stem}.py"))


def _tests(files: list[Path], functions: Iterable[str] = ()) -> list[str]:
    """The test files of the same name; else those that mention one of the functions."""
    folder = paths.root() / "tests"
    named = sorted(path for file in files for path in folder.rglob(f"test_{file.stem}.py"))
    if not named:
        wanted = list(functions) or [one for file in files for one in public(file)]
        pattern = re.compile(rf"\b({'|'.join(map(re.escape, wanted))})\b")
        rooms = dict.fromkeys("losses" if "losses" in file.parts else "methods" for file in files)
        texts = [path for room in rooms for path in sorted((folder / room).rglob("test_*.py"))]
        named = [
            path for path in texts if wanted and pattern.search(path.read_text(encoding="utf-8"))
        ]
    return [_relative(path) for path in dict.fromkeys(named)]


@functools.cache
def public(file: Path) -> list[str]:
    """The public names that a file defines."""
    defined = ast.parse(file.read_text(encoding="utf-8")).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [one.name for one in defined if isinstance(one, kinds) and not one.name.startswith("_")]


@functools.cache
def _constants(file: Path) -> list[str]:
    """The constants of a file with longer names, such as its rows for the catalogue."""
    targets = (
        target.id
        for one in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(one, ast.Assign)
        for target in one.targets
        if isinstance(target, ast.Name)
    )
    return [name for name in targets if name.isupper() and len(name) > 5]


def _chapters(key: str | None, files: list[Path]) -> list[str]:
    """The chapters that judge a paper; else those whose code calls one of the functions; else those
    that mention one, or a constant of these files."""
    found, called, named = [], [], []
    functions = [one for file in files for one in public(file)]
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, functions))})\(")
    values = [*functions, *(one for file in files for one in _constants(file))]
    word = re.compile(rf"\b({'|'.join(map(re.escape, values))})\b")
    for path in sorted((paths.root() / "notebooks").glob("*.ipynb")):
        chapter = read_chapter(path)
        if key in chapter.papers:
            found.append(_relative(path))
        if functions and pattern.search(chapter.code):
            called.append(_relative(path))
        if values and word.search(chapter.code):
            named.append(_relative(path))
    return found or called or named


@dataclass(frozen=True)
class Written:
    """The sources of a chapter: the papers it judges, its prose and its code."""

    papers: tuple[str, ...]
    prose: str
    code: str

    @functools.cached_property
    def letters(self) -> str:
        """Its prose in lower case without blanks, breaks and punctuation, to search for titles."""
        return letters(self.prose)


def letters(text: str) -> str:
    """Lower-case letters and digits only."""
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def read_chapter(path: Path) -> Written:
    """A chapter without its outputs."""
    return _read_chapter(path, path.stat().st_mtime_ns)


@functools.cache
def _read_chapter(path: Path, _: int) -> Written:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    prose, code = (
        "\n".join(
            "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind
        )
        for kind in ("markdown", "code")
    )
    return Written(tuple(notebook["metadata"].get("kdnb", {}).get("papers", ())), prose, code)


@functools.cache
def _arms(path: Path, _: int) -> tuple[str, ...]:
    return tuple(json.loads(path.read_text(encoding="utf-8"))["arms"])


def _existing(candidates: Iterable[str]) -> list[str]:
    return sorted(path for path in candidates if (paths.root() / path).is_file())


def _relative(path: Path) -> str:
    return str(path.relative_to(paths.root()))
