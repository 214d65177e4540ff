"""Shared by the notebooks and the runner: digests of cells, and the display of verdicts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from IPython.display import display

from kdnb.papers.claims import Verdict

VERDICTS_MIME = "application/vnd.kdnb.verdicts+json"


def digests(notebook: Any) -> list[str]:
    """A digest of 12 hexadecimal digits for each code cell, ignoring comment lines and blank lines.

    A notebook stores those of the code that ran, so that a cell that was changed afterwards is detected
    even though its old outputs are still there.
    """
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            lines = [line.rstrip() for line in cell.source.splitlines()]
            code = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
            found.append(hashlib.sha256(code.encode()).hexdigest()[:12])
    return found


def show_verdicts(verdicts: Iterable[Verdict], profile: str, *, grouped: bool = False) -> None:
    """Print one line per verdict; the runner reads them from the executed notebook.

    Args:
        profile: the basis of the verdicts: the run's own profile, `laptop`, `full`, or `exact`.
        grouped: whether claims that fail the same premise share a line, which then gives the value
            found. Use it for verdicts on a record, where the value is the same on every machine.
    """
    verdicts = list(verdicts)
    words = {f"{verdict.claim.paper}/{verdict.claim.id}": verdict.word for verdict in verdicts}
    lines = _grouped(verdicts) if grouped else map(str, verdicts)
    display({"text/plain": "\n".join(lines), VERDICTS_MIME: {profile: words}}, raw=True)


def _grouped(verdicts: Iterable[Verdict]) -> list[str]:
    """One line per verdict, or one for all claims whose premise fails with the same value."""
    claims: dict[str, list[str]] = {}
    for verdict in verdicts:
        unmet = verdict.word == "premise not met"
        reason = verdict.reason if unmet else f"{verdict.claim.id}: {verdict.word} - {verdict.gist}"
        claims.setdefault(reason, []).append(verdict.claim.id if unmet else "")
    return [
        f"{', '.join(names)}: premise not met - {reason}" if names[0] else reason
        for reason, names in claims.items()
    ]


def verdicts_shown(notebook: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What `show_verdicts` showed in an executed notebook: profile -> paper/claim -> verdict."""
    found: dict[str, dict[str, str]] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            for profile, words in output.get("data", {}).get(VERDICTS_MIME, {}).items():
                found.setdefault(profile, {}).update(words)
    return found
