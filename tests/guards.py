"""What nbval does not see: each function finds what is wrong with a chapter, in sentences.

nbval passes a notebook that was never executed, does not know of the paired source, and
compares no provenance.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
import nbformat

from kdnb import papers
from kdnb.reproductions import recipe_digest
from kdnb.workbook.chapter import digests

ABSOLUTE = re.compile(
    r"(?<![\w.:/])/(?:home|Users|root|work|tmp|var|opt|mnt)/[\w.-]+|[A-Z]:\\\\Users"
)
LONGEST_CELL = 40


def problems(path: Path, source: Path) -> list[str]:
    """Everything that is wrong with an executed chapter and its source."""
    notebook = nbformat.read(path, as_version=4)
    return [
        *never_executed(notebook),
        *changed_since(notebook),
        *stale_pair(notebook, source),
        *leaked_paths(path),
        *cited_otherwise(notebook),
        *misplaced(notebook),
        *compared_in_vain(notebook),
    ]


def never_executed(notebook: Any) -> list[str]:
    """Every code cell was run, once, from top to bottom, and none failed."""
    found = []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, 1):
        if cell.execution_count != number:
            found.append(f"code cell {number} has execution count {cell.execution_count}")
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"code cell {number} holds an error")
    run = notebook.metadata.get("kdnb_run", {})
    if run.get("outcome") != "ok":
        found.append("the notebook holds no provenance of a whole run")
    return found


def changed_since(notebook: Any) -> list[str]:
    """The code that stands in the cells is the code that ran: old outputs are not kept."""
    ran, stands = notebook.metadata.get("kdnb_run", {}).get("cells", []), digests(notebook)
    if len(ran) != len(stands):
        return [f"{len(ran)} code cells were executed and {len(stands)} stand: execute it again"]
    return [
        f"code cell {number} was changed after it was executed: execute it again"
        for number, (old, new) in enumerate(zip(ran, stands, strict=True), 1)
        if old != new
    ]


def cited_otherwise(notebook: Any) -> list[str]:
    """What the cells that print a citation hold is what the bibliography and the record say."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or "papers.cite(" not in cell.source:
            continue
        calls = [
            node
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "papers.cite"
        ]
        cited = [papers.cite(*map(ast.literal_eval, call.args)) + "\n" for call in calls]
        if "".join(output.text for output in cell.outputs) != "".join(cited):
            found.append(f"an old citation: {cell.source}")
    return found


def stale_pair(notebook: Any, source: Path) -> list[str]:
    """The notebook's cells are those of its source."""
    written = jupytext.read(source)
    ours = [(cell.cell_type, cell.source) for cell in notebook.cells]
    theirs = [(cell.cell_type, cell.source) for cell in written.cells]
    if ours == theirs:
        return []
    changed = sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))
    return [f"{changed} cells differ from {source.name}: sync the pair and execute it again"]


def leaked_paths(path: Path) -> list[str]:
    """No absolute path of the machine that ran it."""
    found = ABSOLUTE.search(path.read_text())
    return [f"a path of some machine: {found.group(0)}"] if found else []


def misplaced(notebook: Any) -> list[str]:
    """No widget state, no code that belongs in the package, no verdict that nbval skips."""
    found = ["holds widget state"] if "widgets" in notebook.metadata else []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        first = cell.source.splitlines()[0] if cell.source else ""
        if len(cell.source.splitlines()) > LONGEST_CELL:
            found.append(f"a code cell of {len(cell.source.splitlines())} lines: {first}")
        if "show_verdicts(" in cell.source and cell.metadata.get("tags"):
            found.append(f"a verdict that is not compared: {first}")
    return found


def compared_in_vain(notebook: Any) -> list[str]:
    """No cell is compared whose output differs between processors.

    A live number belongs to a cell tagged `nbval-ignore-output`; a name that such a cell assigns
    holds one, unless it was read from a record or a data set.
    """
    found: list[str] = []
    live: set[str] = set()
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        tree = ast.parse(cell.source)
        fixed = ("papers.", "data.load(")
        recorded = [s for s in tree.body if any(f in ast.unparse(s) for f in fixed)]
        assigned = _names(tree, ast.Store) - {n for s in recorded for n in _names(s, ast.Store)}
        first = cell.source.splitlines()[0] if cell.source else ""
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            live |= assigned
            continue
        defined = {s.name for s in ast.walk(tree) if isinstance(s, ast.FunctionDef)}
        arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        written: list[ast.AST] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.FormattedValue):
                written.append(node.value)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                written += node.args
        shown = {name for value in written for name in _names(value, ast.Load)}
        live -= _names(tree, ast.Store) | defined
        if names := sorted(shown & live - arguments):
            found.append(f"live numbers that are compared, {', '.join(names)}: {first}")
    return found


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    names = (part for part in ast.walk(node) if isinstance(part, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, context)}


def parameters_of(notebook: Any) -> dict[str, Any]:
    """The values in the cell tagged `parameters`."""
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    return {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(cell.source).body
    }


def profile_of(parameters: Any, profiles: Mapping[str, Any]) -> str:
    """The profile that these parameters are, with its number of seeds or more; else `custom`."""
    for name, profile in profiles.items():
        enough = parameters.seeds >= profile.seeds
        if enough and parameters.model_copy(update={"seeds": profile.seeds}) == profile:
            return name
    return "custom"


def stale_record(reproduction: Any, experiment: Any, record: Any) -> list[str]:
    """The record is of its profile, and made by the trials that this profile describes today."""
    parameters = experiment.Parameters(**record.parameters)
    arms = reproduction.arms(parameters)
    chosen = getattr(parameters, "arms", []) or list(arms)
    today = recipe_digest(arms[name](seed) for name in chosen for seed in range(parameters.seeds))
    named = profile_of(parameters, experiment.PROFILES)
    if (named, today) == (record.profile, record.recipe_digest):
        return []
    return [f"the record of {record.paper} at {record.profile} is stale: run it again"]
