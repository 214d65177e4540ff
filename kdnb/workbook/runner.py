"""Running chapters with papermill: checked parameters, profiles, outputs.

A run writes into `runs/<chapter>/<profile>/`: the executed notebook, its figures, and `run.json`
with parameters, provenance, verdicts and outcome. Its trials are stored in `runs/trials/`, so a
rerun reuses finished ones.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from kdnb import paths
from kdnb.names import brief
from kdnb.runs.pool import default_jobs, pool
from kdnb.runs.provenance import now, provenance
from kdnb.training import threads
from kdnb.workbook.chapter import digests, verdicts_shown
from kdnb.workbook.parameters import Parameter, ParameterError, declared, problems

if TYPE_CHECKING:
    from kdnb.runs.cluster import Workers


@cache
def _measured(numbers: Path) -> dict[str, float]:
    """Seconds of each chapter in the numbers of `kdnb bench`; nothing where there are none."""
    try:
        rows = json.loads(numbers.read_text(encoding="utf-8"))["chapters"]["rows"]
        return {row["name"]: row["value"] for row in rows if row["unit"] == "s"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@dataclass(frozen=True)
class Chapter:
    """A notebook and its declarations."""

    path: Path

    @property
    def name(self) -> str:
        """Such as `2-1-response-based-knowledge`."""
        return self.path.stem

    @property
    def number(self) -> str:
        """Such as `2-1`: the chapter's name on the command line."""
        return re.match(r"\d+(-\d+)*|", self.name)[0] or self.name

    @property
    def title(self) -> str:
        """The notebook's first heading, without its number."""
        text = "\n".join(cell.source for cell in self._notebook.cells)
        heading = re.search(r"^# +(?:[\d.]+ +)?(.+)$", text, re.MULTILINE)
        return heading[1] if heading else self.name

    @cached_property
    def _notebook(self) -> nbformat.NotebookNode:
        return nbformat.read(self.path, as_version=4)

    @property
    def seconds(self) -> float:
        """How long it takes at `quick`: as `kdnb bench chapters` measured it, alone on a machine.

        Where that was not measured, the time of the execution that the notebook holds, which may have
        shared the machine; 0 where it holds none.
        """
        own = self._notebook.metadata.get("kdnb_run", {}).get("seconds", 0.0)
        return _measured(self.path.parents[1] / "docs" / "benchmarks.json").get(self.name, own)

    @property
    def papers(self) -> list[str]:
        """Keys of the papers whose claims the chapter judges."""
        return self._notebook.metadata.get("kdnb", {}).get("papers", [])

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters that the chapter declares, by name."""
        return self._declared[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """The values in the chapter."""
        return {name: parameter.default for name, parameter in self.parameters.items()}

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters of a run: the chapter's own, updated with these values.

        Raises:
            ParameterError: see `kdnb.workbook.check`.
        """
        chosen = self.defaults | dict(values)
        for name, parameter in self.parameters.items():  # `--set precision=32` is first a number
            if parameter.type == "string" and type(chosen[name]) in (int, float):
                chosen[name] = str(chosen[name])
        if found := problems(chosen, self._declared[1]):
            raise ParameterError(" ".join(found))
        return chosen

    def check_source(self) -> None:
        """Check that the notebook and its source, if it has one, hold the same cells.

        Raises:
            ParameterError: if one of them was edited, with the command that syncs them.
        """
        source = self.path.parent / "source" / f"{self.name}.py"
        if not source.exists():
            return
        import jupytext

        ours, theirs = (
            [(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in notebook.cells]
            for notebook in (nbformat.read(self.path, as_version=4), jupytext.read(source))
        )
        if ours != theirs:
            raise ParameterError(
                f"{self.path.name} and source/{source.name} differ: run "
                f"jupytext --sync {source.relative_to(paths.root())} before --in-place."
            )

    def profile_of(self, values: Mapping[str, Any]) -> str:
        """The name of these parameters: `quick` for the chapter's own, `custom` for a reader's."""
        return "quick" if values == self.defaults else "custom"

    @cached_property
    def _declared(self) -> tuple[dict[str, Parameter], dict[str, Any]]:
        try:
            return declared(self._notebook)
        except ParameterError as error:
            raise ParameterError(f"{self.name}: {error}") from None


@dataclass(frozen=True)
class Run:
    """How a chapter's run ended: `ok`, `failed cell`, `dead kernel` or `timeout`."""

    chapter: str
    profile: str
    outcome: str
    message: str
    seconds: float
    verdicts: dict[str, dict[str, str]]
    notebook: str


def chapters() -> list[Chapter]:
    """All chapters, in the order of the survey."""
    return [Chapter(path) for path in sorted((paths.root() / "notebooks").glob("*.ipynb"))]


def _letters(name: str) -> str:
    """A name without hyphens and blanks, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def chapter(name: str) -> Chapter:
    """The chapter whose name has this prefix: `2-1` is enough.

    Raises:
        ParameterError: if there is none or more than one.
    """
    known = chapters()
    found = [item for item in known if item.name == name or item.name.startswith(f"{name}-")]
    if len(found) == 1:
        return found[0]
    names = [item.name for item in found or known]
    letters = _letters(name)
    near = [one for one in names if letters and letters in _letters(one)]
    if len(near) != 1:
        near = difflib.get_close_matches(name[:200], names, 1)
    short = [item.number for item in found or known if item.number != item.name]
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_ranges(short))}."
    raise ParameterError(f"No single chapter is called {brief(name)}: {hint}")


def _ranges(numbers: list[str]) -> list[str]:
    """Chapter numbers, shortened to the first and the last for sections of more than three."""
    found = []
    for _, group in itertools.groupby(numbers, lambda number: number.split("-")[0]):
        section = list(group)
        found += section if len(section) <= 3 else [f"{section[0]} to {section[-1]}"]
    return found


def parsed(settings: list[str]) -> dict[str, Any]:
    """`["temperature=4", "dataset=mnist"]` as values: JSON if valid, else text."""
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ParameterError(f"{brief(setting)} is not of the form name=value.")
        name = name.strip()
        if name in values:
            raise ParameterError(f"{brief(name)} is set twice.")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
        except (ValueError, RecursionError):  # thousands of digits or of brackets
            raise ParameterError(f"{brief(name)} has no usable value: {brief(text)}.") from None
    return values


def run(
    item: Chapter,
    chosen: Mapping[str, Any],
    *,
    jobs: int = 1,
    cluster: Workers | None = None,
    cell_timeout: int | None = None,
    in_place: bool = False,
) -> Run:
    """Execute a chapter and keep its outputs, even if it fails half-way.

    All its trials are kept, so an interrupted run can resume.

    Args:
        chosen: parameters from `Chapter.checked`.
        jobs: processes for the trials.
        cluster: run the trials on this cluster instead.
        cell_timeout: time limit for each cell in seconds; no limit if None.
        in_place: overwrite the chapter's notebook with the executed one, and write its figures to
            `figures/`, ready to commit. Only with the chapter's own parameters, and with its
            trials one after another.
    """
    profile = item.profile_of(chosen)
    default = chosen == item.defaults
    if in_place and not default:
        raise ParameterError("A chapter is executed in place with its own parameters only.")
    if in_place:
        item.check_source()
    folder = paths.runs() / item.name / profile
    target = folder / f"{item.name}.ipynb"
    started, outcome, message = perf_counter(), "ok", ""
    # No progress bars in the kernel: they would be kept as outputs. It uses this process's threads.
    # In place, trials run in the kernel, so that their messages appear under the calling cell.
    settings = {
        "KDNB_JOBS": "1" if in_place else str(jobs),
        "KDNB_FIGURES": str(paths.root() / "figures" if in_place else folder / "figures"),
        "TQDM_DISABLE": "1",
        **threads.share(1),
        **(cluster.environment if cluster else {}),
    }  # fmt: skip
    with (
        paths.locked(folder / "lock"),
        paths.surroundings(settings),
        paths.temporary_folder("kdnb-") as own,  # for the kernel's connection key
    ):
        for left in (folder, folder / "figures"):
            paths.sweep(left)
        try:
            papermill.execute_notebook(
                item.path, target, parameters={} if default else dict(chosen),
                kernel_name="python3", cwd=paths.root(), progress_bar=False,
                execution_timeout=cell_timeout,
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
                shutdown_kernel="immediate",  # everything is on disk
                config=Config(ConnectionFileMixin={"connection_file": str(own / "kernel.json")}),
            )  # fmt: skip
        except PapermillExecutionError as error:
            outcome, message = "failed cell", f"{error.ename}: {error.evalue}"
        except DeadKernelError:
            outcome, message = "dead kernel", "the kernel died, most often for want of memory"
        except CellTimeoutError:
            outcome, message = "timeout", f"a cell took more than {cell_timeout} s"
        seconds = perf_counter() - started
        notebook = _cleaned(target, chosen, seconds, outcome)
        verdicts = verdicts_shown(notebook)
        where = str(
            target.relative_to(paths.root()) if target.is_relative_to(paths.root()) else target
        )
        result = Run(item.name, profile, outcome, message, seconds, verdicts, where)
        document = {**asdict(result), **notebook.metadata["kdnb_run"]}
        paths.atomic_write(folder / "run.json", json.dumps(document, indent=1) + "\n")
        if in_place and outcome == "ok":
            paths.atomic_write(item.path, nbformat.writes(notebook) + "\n")
    return result


def run_all(
    plans: Sequence[tuple[Chapter, Mapping[str, Any]]],
    *,
    jobs: int | None = None,
    cluster: Workers | None = None,
    **options: Any,
) -> Iterator[Run]:
    """Execute chapters, in parallel if there are several, and yield each run as it ends.

    For one chapter, its trials run in parallel, on `jobs` processes or on the cluster. Several chapters
    run in parallel themselves, each on one worker with its trials one after another, or with an equal
    share of the processes.

    Args:
        plans: chapters and their parameters, from `Chapter.checked`.
        jobs: number of processes, divided equally among parallel chapters; `default_jobs` by default.
            Ignored on a cluster.
        cluster: run trials and chapters on this cluster instead.
        **options: `cell_timeout` and `in_place`, as in `run`.

    Raises:
        RuntimeError: if the process or worker of a chapter died; says which, and why.
    """
    jobs = 1 if cluster else jobs or default_jobs()
    abreast = len(plans) if cluster else min(jobs, len(plans))
    if abreast <= 1:
        for item, chosen in plans:
            yield run(item, chosen, jobs=jobs, cluster=cluster, **options)
        return
    for item, chosen in plans:
        executor: Executor = cluster or pool(abreast)
    options["jobs"] = max(1, jobs // abreast)
    # The longest come first, so that none of them runs alone at the end.
    plans = sorted(plans, key=lambda plan: plan[0].seconds, reverse=True)
    running = {
        executor.submit(_run_apart, item.name, dict(chosen), options): item.name
        for item, chosen in plans
    }
    try:
        for future in as_completed(running):
            yield _run_of(future, running[future])
    finally:
        for future in running:
            future.cancel()
        if executor is not cluster:
            executor.shutdown(wait=False, cancel_futures=True)


def _run_apart(name: str, values: dict[str, Any], options: dict[str, Any]) -> Run:
    """Run a chapter in a separate process or on a worker, including its trials."""
    item = chapter(name)
    with paths.surroundings({"KDNB_CLUSTER": ""}):
        return run(item, item.checked(values), **options)


def _run_of(future: Future[Run], name: str) -> Run:
    try:
        return future.result()
    except BrokenExecutor as error:
        raise RuntimeError(
            f"a process died while it ran chapter {name} or one beside it, most often for want of "
            "memory: try fewer --jobs."
        ) from error
    except Exception as error:
        raise RuntimeError(f"chapter {name} was not run: {error}") from error


def _cleaned(
    path: Path, chosen: Mapping[str, Any], seconds: float, outcome: str
) -> nbformat.NotebookNode:
    """The notebook without widget state, cell timings and local paths, and with its provenance."""
    notebook = nbformat.read(path, as_version=4)
    for key in ("widgets", "papermill"):  # GitHub does not render a notebook with widget state
        notebook.metadata.pop(key, None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        cell.metadata["tags"] = [
            tag for tag in cell.metadata.get("tags", []) if "papermill" not in tag
        ]
        if not cell.metadata["tags"]:
            del cell.metadata["tags"]
    notebook.metadata["kdnb_run"] = {
        **provenance(),
        "cells": digests(notebook),
        "parameters": dict(chosen),
        "finished": now(),
        "seconds": round(seconds, 1),
        "outcome": outcome,
    }
    paths.atomic_write(path, nbformat.writes(notebook) + "\n")
    return notebook
