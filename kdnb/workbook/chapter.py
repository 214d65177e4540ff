"""What the notebooks and the runner share: checked parameters, profiles, verdicts on display."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from IPython.display import display
from pydantic import BaseModel, ValidationError

from kdnb.names import brief, nearest
from kdnb.papers.claims import Verdict
from kdnb.workbook.parameters import Parameter, ParameterError, injected, unknown

VERDICTS_MIME = "application/vnd.kdnb.verdicts+json"

Model = TypeVar("Model", bound=BaseModel)


def check(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Parameters of a chapter that has a model for them, typed and within their ranges.

    This is for chapters that are not yet rewritten: see `kdnb.workbook.parameters`.

    Args:
        model: the chapter's parameters.
        values: by name. A notebook passes `globals()`: the names it does not know are ignored
            there, except those that papermill injected.

    Raises:
        ParameterError: naming each wrong parameter, its type and range, or for an unknown name
            the nearest known one.
    """
    known = model.model_fields
    notebook = "__name__" in values
    given = set(injected()) if notebook else set(values)
    problems = [unknown(name, known) for name in sorted(given - set(known))]
    try:
        parameters = model(**{name: values[name] for name in known if name in values})
    except ValidationError as error:
        problems += [_explain(model, entry) for entry in error.errors()]
    if not problems:
        problems = _arms_left_out(model, parameters)
    if problems:
        raise ParameterError(" ".join(problems))
    return parameters


def _arms_left_out(model: type[BaseModel], parameters: BaseModel) -> list[str]:
    """What is wrong with the conditions that a chapter is to run.

    Its tables and figures show its own, so those are needed; more may be added, or all be run.
    """
    reproduction = getattr(sys.modules[model.__module__], "REPRODUCTION", None)
    if reproduction is None or not getattr(parameters, "arms", None):
        return []
    available = reproduction.arms(parameters)
    for name in parameters.arms:
        if name not in available:
            return [f"Parameter 'arms' names {brief(name)} ({nearest(name, available)})."]
    own = model.model_fields["arms"].default
    if missing := [name for name in own if name not in parameters.arms]:
        return [
            "Parameter 'arms' must be empty, for all, or have the chapter's own: "
            + f"{', '.join(own)}; {', '.join(missing)} is not among them."
        ]
    return []


def parameters_of(model: type[BaseModel]) -> dict[str, Parameter]:
    """What such a model declares, by name."""
    words = {"minimum": "at least", "exclusiveMinimum": "above",
             "maximum": "at most", "exclusiveMaximum": "below"}  # fmt: skip
    found = {}
    for name, schema in model.model_json_schema()["properties"].items():
        kind = schema.get("type", "value").replace("array", "list")
        limits = " and ".join(
            f"{word} {schema[key]}" for key, word in words.items() if key in schema
        )
        if "enum" in schema:
            limits = "one of " + ", ".join(map(repr, schema["enum"]))
        help = schema.get("description", "")
        found[name] = Parameter(name, kind, limits, model.model_fields[name].default, help)
    return found


def digests(notebook: Any) -> list[str]:
    """The code of each code cell in 12 hexadecimal digits; comment lines and blank lines do not count.

    A notebook keeps those of the code that ran, so that a cell that was changed afterwards is found
    although its old outputs stand below it.
    """
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            lines = [line.rstrip() for line in cell.source.splitlines()]
            code = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
            found.append(hashlib.sha256(code.encode()).hexdigest()[:12])
    return found


def profile_of(parameters: BaseModel, profiles: Mapping[str, BaseModel]) -> str:
    """The profile that these parameters are, with its number of seeds or more; else `custom`."""
    for name, profile in profiles.items():
        enough = parameters.seeds >= profile.seeds
        if enough and parameters.model_copy(update={"seeds": profile.seeds}) == profile:
            return name
    return "custom"


def show_verdicts(verdicts: Iterable[Verdict], profile: str, *, grouped: bool = False) -> None:
    """Print one line a verdict; the runner reads the same from the executed notebook.

    Args:
        profile: what the verdicts rest on: the run's own, `laptop`, `full`, or `exact`.
        grouped: whether claims that lack the same premise share a line, which then tells the value
            that was found. For verdicts on a record: there the value is the same on every machine.
    """
    verdicts = list(verdicts)
    words = {f"{verdict.claim.paper}/{verdict.claim.id}": verdict.word for verdict in verdicts}
    lines = _grouped(verdicts) if grouped else map(str, verdicts)
    display({"text/plain": "\n".join(lines), VERDICTS_MIME: {profile: words}}, raw=True)


def _grouped(verdicts: Iterable[Verdict]) -> list[str]:
    """One line a verdict, or one for all claims whose premise fails with the same value."""
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


def _explain(model: type[BaseModel], entry: Mapping[str, Any]) -> str:
    if not entry["loc"]:  # two parameters that do not go together
        said = entry["msg"].removeprefix("Value error, ").rstrip(".")
        return f"{said[:1].upper()}{said[1:]}."
    name = str(entry["loc"][0])
    got = f"got {brief(entry['input'])}"
    if entry["type"] == "value_error":  # a name that nobody knows
        return (
            f"Parameter {name!r}: {entry['msg'].removeprefix('Value error, ').rstrip('.')}; {got}."
        )
    if len(entry["loc"]) > 1:
        return f"Every entry of parameter {name!r} must be a {entry['type'].split('_')[0]}; {got}."
    parameter = parameters_of(model)[name]
    wanted = f"{parameter.type} {parameter.limits}".strip()
    return f"Parameter {name!r} must be of type {wanted}; {got}."
