"""Comparing conditions on the same seeds: paired differences, intervals, p values and verdicts."""

from __future__ import annotations

import html
import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pandas as pd
from torch import nn

from kdnb.methods.catalogue import METHODS
from kdnb.methods.names import known_as
from kdnb.methods.offline.distil import distil, planned, train
from kdnb.names import UsageError, brief, imported, nearest
from kdnb.papers.records import read_record
from kdnb.papers.statistics import LEVEL, holm, interval, seeds_needed, sign_flip
from kdnb.progress import bar
from kdnb.training import evaluate
from kdnb.training.randomness import check_seed
from kdnb.training.toy import Toy

MOST_SEEDS = 1000  # of one comparison
SETTINGS = ("tian2020crd",)  # recorded comparisons that accept a user's loss
CONTROLS = {"undistilled": "student", "kd": "kd"}  # for those: shown name -> condition


@dataclass(frozen=True, repr=False)
class Comparison:
    """Conditions over the same seeds.

    Attributes:
        errors: one row per seed, one column per condition.
        controls: the conditions that the others are compared with.
        tested: the conditions whose p values enter Holm's correction; the others come from a
            record and are shown beside them.
        about: the setting.
    """

    errors: pd.DataFrame
    controls: tuple[str, ...]
    tested: tuple[str, ...]
    about: str = ""
    notes: tuple[str, ...] = field(default=())

    def against(self, control: str) -> pd.DataFrame:
        """Every condition compared with one, fewest errors first.

        Columns: `errors` (mean over seeds), `difference` (condition minus control, paired by seed;
        below 0 is fewer errors), `low` and `high` of its 95% t interval, `p` (exact sign-flip test,
        two-sided), `p_holm` (adjusted for all tested conditions), `verdict`: `better`, `worse` or
        `undecided` at 5%; `control` and `recorded` are not tested.

        Raises:
            ValueError: for an unknown condition.
        """
        if control not in self.errors:
            hint = nearest(control, self.errors)
            raise ValueError(f"there is no condition {control!r} ({hint}).")
        rows: dict[str, dict[str, Any]] = {}
        for name, values in self.errors.items():
            gap = (values - self.errors[control]).to_numpy()
            low, high = interval(gap)
            rows[name] = {"errors": values.mean(), "difference": gap.mean(), "low": low,
                          "high": high, "p": math.nan, "p_holm": math.nan,
                          "verdict": "control" if name == control else "recorded"}  # fmt: skip
        asked = [name for name in self.tested if name != control]
        ps = [sign_flip((self.errors[name] - self.errors[control]).to_list()) for name in asked]
        for name, p, adjusted in zip(asked, ps, holm(ps), strict=True):
            better = rows[name]["difference"] < 0
            word = ("better" if better else "worse") if adjusted < LEVEL else "undecided"
            rows[name] |= {"p": p, "p_holm": adjusted, "verdict": word}
        rows[control] |= {"low": math.nan, "high": math.nan}
        frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("condition")
        return frame.sort_values("errors", kind="stable")

    @property
    def table(self) -> pd.DataFrame:
        """`against` the control; with several, their blocks side by side, named by the control."""
        if len(self.controls) == 1:
            return self.against(self.controls[0])
        blocks = {f"against {name}": self.against(name) for name in self.controls}
        means = next(iter(blocks.values()))["errors"]
        parts = {name: block.drop(columns="errors") for name, block in blocks.items()}
        return pd.concat({"": means.to_frame(), **parts}, axis=1).sort_values(("", "errors"))

    def __repr__(self) -> str:
        lines = [f"{self.about}: mean errors over {len(self.errors)} paired seeds"]
        for control in self.controls:
            frame = self.against(control)
            kept = [n for n in frame.index if n in {*self.tested, *self.controls}]
            shown = _readable(frame.loc[kept])
            lines += ["", f"against {control}", shown.to_string()]
        hidden = len(self.errors.columns) - len({*self.tested, *self.controls})
        if hidden:
            lines += ["", f"{hidden} recorded conditions more: .table"]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(self.about)}, {len(self.errors)} paired seeds</p>"]
        for control in self.controls:
            caption = f"<p>against {html.escape(control)}</p>"
            parts.append(caption + _readable(self.against(control)).to_html())
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return "".join(parts) + notes


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    def number(value: float, shape: str) -> str:
        return "" if math.isnan(value) else format(value, shape)

    spans = [
        "" if math.isnan(row.low) else f"{row.low:+.1f} to {row.high:+.1f}"
        for row in frame.itertuples()
    ]
    return pd.DataFrame(
        {
            "errors": [f"{value:.1f}" for value in frame["errors"]],
            "difference": [
                "" if row.verdict == "control" else f"{row.difference:+.1f}"
                for row in frame.itertuples()
            ],
            "95% interval": spans,
            "p (Holm)": [number(value, ".3f") for value in frame["p_holm"]],
            "verdict": frame["verdict"].to_list(),
        },
        index=pd.Index([_short(name) for name in frame.index], name="condition"),
    )


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"


def compare(
    conditions: Mapping[str, Any],
    *,
    seeds: int | Iterable[int] = 6,
    setting: Toy | str | None = None,
    control: str | Sequence[str] | None = None,
    student: str | None = None,
    profile: str | None = None,
) -> Comparison:
    """Compare conditions on the same seeds: each difference is between two trainings with one seed.

        few = kdnb.toy("mnist", images=200)
        kdnb.compare({"labels": None, "kd": "kd", "mine": my_loss}, setting=few, seeds=6)
        kdnb.compare({"mine": my_loss}, setting="tian2020crd")

    Args:
        conditions: by name. A name of a method, a list of them, or a callable
            loss(student_logits, teacher_logits[, labels]); None for labels alone; a dict of
            keywords of `kdnb.distil`, such as `{"method": "kd", "temperature": 2}`; or a callable
            of one seed that trains by itself and returns its errors (a number, or what
            `kdnb.evaluate` returns).
        seeds: their number (0, 1, ...), or the seeds themselves.
        setting: a `Toy`, whose student has the same initial weights and whose images come in the
            same order for all conditions of a seed; or the key of a paper whose comparison is
            recorded (`SETTINGS`): only your losses are trained, in its setting, and compared with
            the recorded conditions. Without a setting every condition is a callable of a seed.
        control: the condition or conditions that the others are compared with; the first one, or
            in a recorded setting plain KD and the undistilled student.
        student: in a recorded setting, one of its students.
        profile: in a recorded setting, the profile of the record; `laptop` by default.

    Raises:
        ValueError: for a condition that is none of these, an unknown setting, seeds that the record
            does not have, or fewer than two.
        TypeError: for a setting that is neither a `Toy` nor a key.
    """
    several = isinstance(seeds, Iterable) and not isinstance(seeds, (str, bytes))
    if not several and not isinstance(seeds, int):
        raise TypeError(f"seeds is how many, or which whole numbers; got {brief(seeds)}.")
    wanted = list(islice(seeds if several else range(seeds), MOST_SEEDS + 1))
    for seed in wanted:
        check_seed(seed)
    if not 2 <= len(wanted) <= MOST_SEEDS or len(set(wanted)) < len(wanted):
        raise ValueError(
            f"a paired comparison needs two or more different seeds, {MOST_SEEDS:,} at most; got "
            f"{brief(seeds)}."
        )
    if not isinstance(conditions, Mapping) or not conditions:
        raise ValueError(
            "give at least one condition by name, {name: method or callable}; got "
            f"{brief(conditions)}."
        )
    if isinstance(setting, str):
        return _beside(conditions, wanted, setting, control, student, profile or "laptop")
    if not isinstance(setting, Toy | None):
        raise TypeError(
            "setting is a kdnb.toy(...), a kdnb.Toy of your own networks and data, or the key of a "
            f"recorded comparison ({', '.join(SETTINGS)}); got {brief(setting)}."
        )
    for name, value in {"student": student, "profile": profile}.items():
        if value is not None:
            raise ValueError(f"{name}= belongs to a recorded setting, such as {SETTINGS[0]!r}.")
    runs = {name: _run_of(name, one, setting) for name, one in conditions.items()}
    controls = _several(control, [next(iter(conditions))])
    if unknown := [name for name in controls if name not in runs]:
        raise ValueError(f"there is no condition {unknown[0]!r} ({nearest(unknown[0], runs)}).")
    errors = _measured(runs, wanted)
    about = setting.name if setting is not None else "compare"
    tested = [name for name in runs if len(controls) > 1 or name not in controls]
    return _comparison(errors, controls, tested, about)


def _comparison(
    errors: pd.DataFrame, controls: Sequence[str], tested: Sequence[str], about: str
) -> Comparison:
    family = len([name for name in tested if name not in controls[:1]])
    needed = seeds_needed(("two",) * family) if family else 0
    notes = []
    if len(errors) < needed:
        notes = [f"In a family of {family} no p can fall below {LEVEL} under {needed} seeds."]
    return Comparison(errors, tuple(controls), tuple(tested), about, tuple(notes))


def _several(control: str | Sequence[str] | None, usual: list[str]) -> list[str]:
    if control is None:
        return usual
    return [control] if isinstance(control, str) else list(control)


def _measured(runs: Mapping[str, Callable[[int], float]], seeds: Sequence[int]) -> pd.DataFrame:
    """Errors by seed and condition; run seed by seed, so that interrupted runs have complete pairs."""
    found: dict[str, dict[int, float]] = {name: {} for name in runs}
    progress = bar(len(seeds) * len(runs), 0, "training")
    try:
        for seed in seeds:
            for name, run in runs.items():
                value = run(seed)
                if not math.isfinite(value):
                    raise ValueError(f"{name!r} gave {value} errors with seed {seed}.")
                found[name][seed] = value
                progress.update()
    finally:
        progress.close()
    return pd.DataFrame(found).rename_axis("seed")


_OURS = {"student", "teacher", "data", "recipe", "seed", "checkpoint"}


def _run_of(name: str, condition: Any, setting: Toy | None) -> Callable[[int], float]:
    """A condition as a function of a seed that returns errors."""
    if _is_call(condition):
        return lambda seed: _errors_of(name, condition(seed))
    if setting is None:
        raise ValueError(
            f"{name!r} says how to learn but not from what: give setting=kdnb.toy(...), or a "
            "callable of one seed."
        )
    keywords = _keywords(name, condition)
    if keywords and setting.teacher is None:
        raise ValueError(f"{name!r} needs a teacher, and {setting.name} has none.")
    if ours := sorted(keywords.keys() & _OURS):
        raise ValueError(
            f"{name!r} names {ours[0]}, which belongs to the comparison: it trains every condition with "
            "the networks, data and recipe of its setting, once for each seed."
        )
    if keywords:  # refuse wrong names before any condition is trained
        others = {*inspect.signature(distil).parameters} - {"method", "weight"}
        planned(**{key: value for key, value in keywords.items() if key not in others})

    def run(seed: int) -> float:
        network = setting.student(seed)
        if not keywords:
            train(network, setting.train, setting.recipe, seed=seed)
            return float(evaluate(network, setting.held_out)["errors"])
        fit = distil(network, setting.teacher, setting.train, setting.recipe, seed=seed, **keywords)
        deployed = fit.networks.get("deployed", network)
        return float(evaluate(deployed, setting.held_out)["errors"])

    return run


def _keywords(name: str, condition: Any) -> dict[str, Any]:
    """Keywords of `distil`; none for labels alone."""
    if condition is None:
        return {}
    if isinstance(condition, Mapping):
        if not all(isinstance(key, str) for key in condition):
            raise ValueError(f"{name!r} must name keywords of kdnb.distil; got {condition!r}.")
        return {"method": "kd", **condition}
    if isinstance(condition, (str, list, tuple)) or callable(condition):
        return {"method": condition}
    raise ValueError(
        f"{name!r} is no condition: give a method's name, a loss, a dict of keywords of kdnb.distil, "
        f"None for labels alone, or a callable of one seed; got a {type(condition).__name__}."
    )


def _is_call(condition: Any) -> bool:
    """Whether it takes only a seed, while a loss takes two sets of logits."""
    if not callable(condition) or isinstance(condition, nn.Module):
        return False
    try:
        parameters = inspect.signature(condition).parameters.values()
    except (TypeError, ValueError):
        return False
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len([p for p in placed if p.default is p.empty]) == 1


def _errors_of(name: str, value: Any) -> float:
    if isinstance(value, (Mapping, pd.Series)):
        value = value.get("errors")
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name!r} must return its errors, a number or what kdnb.evaluate returns; "
            f"got a {type(value).__name__}."
        ) from error


# --- with a record -------------------------------------------------------------------------------


def _beside(
    conditions: Mapping[str, Any],
    seeds: list[int],
    setting: str,
    control: str | Sequence[str] | None,
    student: str | None,
    profile: str,
) -> Comparison:
    if setting not in SETTINGS:
        raise UsageError(
            f"{brief(setting)} is no recorded comparison ({nearest(setting, SETTINGS)})."
        )
    paper = importlib.import_module(f"kdnb.reproductions.{setting}")
    student = next(iter(paper.STUDENTS)) if student is None else student
    if student not in paper.STUDENTS:
        raise UsageError(f"{setting} has no student {brief(student)}: {', '.join(paper.STUDENTS)}.")
    record = read_record(setting, profile)
    recorded = _recorded(paper, record, student)
    if missing := [seed for seed in seeds if seed not in recorded.index]:
        raise UsageError(
            f"seed {brief(missing[0])} is not recorded: {setting} at {profile} has seeds "
            f"{', '.join(map(str, recorded.index))}."
        )
    taken = set(recorded) & set(conditions)
    if taken:
        raise ValueError(f"the name {min(taken)!r} belongs to a recorded condition: take another.")
    runs = {}
    for name, one in conditions.items():
        keywords = _keywords(name, one)
        if not keywords or _is_call(one):
            raise ValueError(f"{name!r} must be a loss or a method: the setting is recorded.")
        runs[name] = _newcomer(paper, record, student, keywords)
    errors = pd.concat([_measured(runs, seeds), recorded.loc[seeds]], axis=1)
    controls = _several(control, ["kd", "undistilled"])
    if unknown := [name for name in controls if name not in errors]:
        raise ValueError(f"there is no condition {unknown[0]!r} ({nearest(unknown[0], errors)}).")
    return _comparison(errors, controls, list(runs), f"{setting}, {profile}, student {student}")


def _recorded(paper: Any, record: Any, student: str) -> pd.DataFrame:
    """Recorded errors by seed and condition, under current names."""
    names = {**{method: method for method in paper.COMPARED}, **CONTROLS}
    found = {
        name: {seed: one.metrics["test_errors"] for seed, one in record.arms[arm].items()}
        for name, method in names.items()
        if (arm := paper.arm_of(method, student)) in record.arms
    }
    return pd.DataFrame(found).dropna()


def _newcomer(
    paper: Any, record: Any, student: str, keywords: dict[str, Any]
) -> Callable[[int], float]:
    parameters = paper.Parameters.model_validate(record.parameters)
    return lambda seed: paper.newcomer(parameters, student, seed, **keywords)["test_errors"]


def named_conditions(names: Sequence[str], weight: float | None = None) -> dict[str, Any]:
    """The conditions given on the command line: `module:function`, or the name of a method.

    Raises:
        UsageError: for a module that cannot be imported, a function that it does not have, or
            an unknown method.
    """
    found: dict[str, Any] = {}
    for name in names:
        _, colon, function = name.partition(":")
        loss: Any = name
        if colon:
            loss = imported(name)
        else:
            known_as(name, list(METHODS))
        shown = function or f"{name} again"
        found[shown] = {"method": loss} | ({} if weight is None else {"weight": weight})
    return found
