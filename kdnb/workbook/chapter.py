"""What the notebooks and the runner share: checked parameters, profiles, verdicts on display."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, TypeVar

from IPython import get_ipython
from IPython.display import display
from pydantic import BaseModel, ValidationError

from kdnb.papers.claims import Verdict
from kdnb.runs import pool

VERDICTS_MIME = "application/vnd.kdnb.verdicts+json"

COLOURS = {
    "reproduced": "#00664b",
    "direction only": "#0072b2",
    "not reproduced": "#a64a00",
    "not testable here": "#595959",
}

Model = TypeVar("Model", bound=BaseModel)


class ParameterError(ValueError):
    """A parameter that is unknown, of another type, or out of range."""


def check(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Parameters, typed and within their ranges, before anything is computed.

    Args:
        model: the chapter's parameters.
        values: by name. A notebook passes `globals()`: the names it does not know are ignored
            there, except those that papermill injected.

    Raises:
        ParameterError: naming each wrong parameter, its type and range, or for an unknown name
            the nearest known one.
    """
    known = model.model_fields
    injected = _injected()
    notebook = "__name__" in values
    given = set(injected) if notebook else set(values)
    problems = [_unknown(name, known) for name in sorted(given - set(known))]
    try:
        parameters = model(**{name: values[name] for name in known if name in values})
    except ValidationError as error:
        problems += [_explain(model, entry) for entry in error.errors()]
    if problems:
        raise ParameterError(" ".join(problems))
    if notebook:
        pool.wake()  # the first cells are prose and pictures: workers start meanwhile
    return parameters


def profile_of(parameters: BaseModel, profiles: Mapping[str, BaseModel]) -> str:
    """The profile that these parameters are, with its number of seeds or more; else `custom`."""
    for name, profile in profiles.items():
        enough = parameters.seeds >= profile.seeds
        if enough and parameters.model_copy(update={"seeds": profile.seeds}) == profile:
            return name
    return "custom"


def badges(verdicts: Mapping[str, Iterable[Verdict]], profile: str) -> None:
    """The recorded verdicts of some papers at a glance: a coloured badge a claim.

    The colours are told apart with any common colour vision, and each badge says its word.
    """
    html, text = [], []
    for key, judged in verdicts.items():
        html.append(f"<b>{key}</b>, {profile} profile:")
        text.append(f"{key}, {profile} profile:")
        for verdict in judged:
            style = f"background:{COLOURS[verdict.word]};color:#fff;padding:1px 8px;"
            name = f"{escape(verdict.claim.id)}: {verdict.word}"
            html.append(f'<span style="{style}border-radius:9px;white-space:nowrap">{name}</span>')
            text.append(f"  {name}")
        html.append("<br>")
    display({"text/html": " ".join(html), "text/plain": "\n".join(text)}, raw=True)


def show_verdicts(verdicts: Iterable[Verdict], profile: str) -> None:
    """Print one line a verdict; the runner reads the same from the executed notebook.

    Args:
        profile: what the verdicts rest on: the run's own, `laptop`, `full`, or `exact`.
    """
    verdicts = list(verdicts)
    words = {f"{verdict.claim.paper}/{verdict.claim.id}": verdict.word for verdict in verdicts}
    display(
        {"text/plain": "\n".join(map(str, verdicts)), VERDICTS_MIME: {profile: words}}, raw=True
    )


def verdicts_shown(notebook: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What `show_verdicts` showed in an executed notebook: profile -> paper/claim -> verdict."""
    found: dict[str, dict[str, str]] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            for profile, words in output.get("data", {}).get(VERDICTS_MIME, {}).items():
                found.setdefault(profile, {}).update(words)
    return found


def _injected() -> list[str]:
    """The names that papermill assigned in this kernel: its cell begins with `# Parameters`."""
    shell = get_ipython()
    cells = [] if shell is None else shell.user_ns.get("In", [])
    names = []
    for cell in cells:
        if cell.startswith("# Parameters\n"):
            for statement in ast.parse(cell).body:
                if isinstance(statement, ast.Assign):
                    names += [target.id for target in statement.targets if hasattr(target, "id")]
    return names


def _unknown(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    return f"Unknown parameter {name!r}: {hint}"


def _explain(model: type[BaseModel], entry: Mapping[str, Any]) -> str:
    name = str(entry["loc"][0])
    schema = model.model_json_schema()["properties"][name]
    what = schema.get("type", "value")
    words = {"minimum": "at least", "exclusiveMinimum": "above",
             "maximum": "at most", "exclusiveMaximum": "below"}  # fmt: skip
    limits = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    if "enum" in schema:
        limits = ["one of " + ", ".join(map(repr, schema["enum"]))]
    wanted = f"{what} {' and '.join(limits)}".strip()
    return f"Parameter {name!r} must be of type {wanted}; got {entry['input']!r}."
