"""One module for each paper that we reproduce: its arms, and their measurements.

An arm is a condition (one way of training) repeated over seeds; the claims in
`papers/<key>/claims.toml` are about arms. Each module has its `Parameters` and `PROFILES`.
`reproduce` runs the arms as trials and collects their measurements in a record; `record` does so
for the key of a paper and saves the record in `papers/<key>/results/`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from kdnb import paths
from kdnb.data.cards import DataError
from kdnb.data.offered import card_of
from kdnb.names import UsageError, brief, nearest, refused
from kdnb.papers.records import (
    Record,
    UnknownPaper,
    earlier_path,
    environment_id,
    read_record,
    record_path,
    write_record,
)
from kdnb.papers.results import known
from kdnb.runs import pool, trials
from kdnb.runs.trials import Result, Trial

Arms = dict[str, Callable[[int], Trial]]


@dataclass(frozen=True)
class Reproduction:
    """How a paper is reproduced.

    Attributes:
        paper: its key in `papers/references.bib`.
        arms: a function from the module's parameters to, for each arm, seed -> trial.
        measure: (arm, result) -> the metrics of one arm and seed. It may return several arms from
            one trial: a name `other.metric` counts for the arm `other`.
    """

    paper: str
    arms: Callable[[Any], Arms]
    measure: Callable[[str, Result], dict[str, float]]


def every_arm(profiles: Mapping[str, Any]) -> dict[str, Any]:
    """Profiles of a paper that shares another's parameters, with all of its own arms instead.

    Profiles that concern only some of the other's arms are left out.
    """
    return {
        name: profile.model_copy(update={"arms": []})
        for name, profile in profiles.items()
        if name == "quick" or not profile.arms
    }


def module_of(key: str) -> ModuleType:
    """The reproduction of a paper. Raises `PaperError`, naming the nearest ones, if unknown."""
    known(key)
    return importlib.import_module(f"kdnb.reproductions.{key}")


def record(
    key: str,
    profile: str = "laptop",
    *,
    seeds: int | None = None,
    only: Iterable[str] = (),
    jobs: int = 1,
    executor: Executor | None = None,
) -> Record:
    """Make the record of a paper at a profile, or continue it, and write it.

    Finished trials are not run again, so an interrupted call can be resumed. Further results in an
    existing record of the same setting are kept; a record of another setting, in which an arm and
    seed correspond to a different trial, moves to `results/earlier/`.

    Args:
        key: the key of the paper.
        profile: one of its reproduction's `PROFILES`.
        seeds: paired repetitions; those of the profile if None.
        only: the conditions (arms) to run; all of the profile if empty.
        jobs: number of parallel processes.
        executor: runs the trials instead, see `trials.run_all`.

    Raises:
        PaperError: for an unknown paper or profile, and for a damaged record.
        ValueError: for an unknown condition.
    """
    module, parameters = module_of(key), checked(key, profile, seeds, only)
    with workers(jobs, executor) as places:
        made = reproduce(
            module.REPRODUCTION,
            parameters,
            profile=profile,
            arms=parameters.arms,
            executor=places,
        )
    return keep(made, module.REPRODUCTION, parameters)


@contextmanager
def workers(jobs: int, executor: Executor | None = None) -> Iterator[Executor | None]:
    """The executor of trials: the given one, else a pool of `jobs` processes; None means this process."""
    if executor is not None or jobs == 1:
        yield executor
        return
    own = pool.pool(jobs)
    try:
        yield own
    finally:
        own.shutdown(wait=False, cancel_futures=True)


def checked(
    key: str, profile: str, seeds: int | None = None, only: Iterable[str] = ()
) -> BaseModel:
    """The parameters for a call of `record`, with the same errors, before any run."""
    parameters = parameters_at(key, profile, seeds)
    if only := list(only):
        parameters = parameters.model_copy(update={"arms": only})
    chosen(module_of(key).REPRODUCTION, parameters, parameters.arms)
    return parameters


def parameters_at(key: str, profile: str, seeds: int | None = None) -> BaseModel:
    """The parameters of a paper's reproduction at a profile.

    Raises:
        UnknownPaper: for an unknown paper or profile.
    """
    profiles = module_of(key).PROFILES
    if profile not in profiles:
        hint = nearest(profile, profiles)
        raise UnknownPaper(f"{key!r} has no profile {brief(profile)} ({hint}).")
    values = profiles[profile].model_dump() | ({} if seeds is None else {"seeds": seeds})
    try:
        return module_of(key).Parameters(**values)
    except ValidationError as error:
        raise UsageError(refused(error)) from None


def keep(made: Record, reproduction: Reproduction, parameters: BaseModel) -> Record:
    """Write a record; an existing one is merged into it, or moved away if its setting differs.

    Returns:
        The record that was written.
    """
    target = record_path(made.paper, made.profile)
    if target.is_file():
        old = read_record(made.paper, made.profile)
        if same_setting(old, reproduction, parameters):
            made = merged(old, made, reproduction, parameters)
        else:
            paths.atomic_write(earlier_path(old), target.read_text(encoding="utf-8"))
    write_record(made, target)
    return made


def same_setting(old: Record, reproduction: Reproduction, parameters: BaseModel) -> bool:
    """Whether a record has these parameters, apart from seeds and arms, and only current trials."""
    free = {"seeds", "arms"}
    theirs, ours = old.parameters, parameters.model_dump(mode="json")
    if {k: v for k, v in theirs.items() if k not in free} != {
        k: v for k, v in ours.items() if k not in free
    }:
        return False
    available = reproduction.arms(parameters)
    seeds = {seed for outcomes in old.arms.values() for seed in outcomes}
    today = {arm(seed).digest for arm in available.values() for seed in seeds}
    return all(o.trial in today for outcomes in old.arms.values() for o in outcomes.values())


def merged(old: Record, new: Record, reproduction: Reproduction, parameters: BaseModel) -> Record:
    """Merge two records of one setting; if both measured the same, the new value is used."""
    available = reproduction.arms(parameters)
    arms: dict[str, dict[int, Any]] = {arm: dict(seeds) for arm, seeds in old.arms.items()}
    for arm, seeds in new.arms.items():
        for seed, outcome in seeds.items():
            before = arms.setdefault(arm, {}).get(seed)
            if before is not None:  # an arm may be measured on the trials of two arms
                own = available[arm](seed).digest if arm in available else outcome.trial
                first = before if before.trial == own != outcome.trial else outcome
                values = {**before.metrics, **outcome.metrics}
                outcome = first.model_copy(update={"metrics": values})
            arms[arm][seed] = outcome
    conditions = _conditions(old, available) | _conditions(new, available)
    seeds = max(old.parameters["seeds"], new.parameters["seeds"])
    names = [name for name in available if name in conditions]
    kept = [outcome for by_seed in arms.values() for outcome in by_seed.values()]
    environments = {**old.environments, **new.environments}
    return Record(
        paper=new.paper,
        profile=new.profile,
        recipe_digest=recipe_digest(
            available[name](seed) for name in names for seed in arms.get(name, range(seeds))
        ),
        created=max(old.created, new.created),
        parameters={
            **new.parameters,
            "seeds": seeds,
            "arms": [] if len(names) == len(available) else names,
        },
        arms=arms,
        environments={o.environment: environments[o.environment] for o in kept},
        data={**old.data, **new.data},
    )


def _conditions(record: Record, available: Arms) -> set[str]:
    """The arms that were run for a record."""
    return set(record.parameters["arms"] or available)


def reproduce(
    reproduction: Reproduction,
    parameters: Any,
    *,
    profile: str,
    arms: Iterable[str] = (),
    executor: Executor | None = None,
    first: int = 0,
) -> Record:
    """Run arms over seeds and return the record of their measurements.

    Args:
        parameters: of its module; `parameters.seeds` is the number of seeds.
        profile: the profile named in the record: `quick`, `laptop`, `full` or `custom`.
        arms: their names; all if empty.
        executor: runs the trials, see `trials.run_all`.
        first: the first seed; the others follow it.

    Raises:
        ValueError: for an arm that the paper's reproduction does not have.
        DataError: for data whose card has no digests.
    """
    wanted = chosen(reproduction, parameters, arms, first)
    for trial in {str(one.arguments.get("data")): one for one in wanted.values()}.values():
        _data_of(trial)  # raises before anything runs
    results = trials.run_all(wanted.values(), executor)
    return _record(reproduction, profile, parameters, wanted, results)


def chosen(
    reproduction: Reproduction, parameters: Any, arms: Iterable[str] = (), first: int = 0
) -> dict[tuple[str, int], Trial]:
    """(arm, seed) -> the trial that `reproduce` runs for it, with the same arguments and errors.

    Ordered by seed, so that an interrupted run has complete pairs.
    """
    arms, available = list(arms), reproduction.arms(parameters)
    if unknown := [name for name in arms if name not in available]:
        hint = nearest(unknown[0], available)
        raise UsageError(f"{reproduction.paper} has no arm {brief(unknown[0])} ({hint}).")
    wanted = [name for name in available if not arms or name in arms]
    return {
        (name, seed): available[name](seed)
        for seed in range(first, first + parameters.seeds)
        for name in wanted
    }


def _record(reproduction, profile, parameters, wanted, results) -> Record:
    arms: dict[str, dict[str, dict[str, Any]]] = {}
    environments: dict[str, dict[str, Any]] = {}
    data: dict[str, dict[str, str]] = {}
    created = ""  # end of the last trial, so that making the record again gives the same record
    for (arm, seed), trial in wanted.items():
        result = results[trial.digest]
        provenance = dict(result.provenance)
        wall = provenance.pop("wall_s")
        created = max(created, provenance.pop("finished"))
        name = environment_id(provenance)
        environments[name] = provenance
        data |= _data_of(trial)
        for metric, value in reproduction.measure(arm, result).items():
            owner, _, name_of_metric = metric.rpartition(".")
            entry = arms.setdefault(owner or arm, {}).setdefault(
                str(seed),
                {"metrics": {}, "trial": trial.digest, "environment": name, "wall_s": wall},
            )
            entry["metrics"][name_of_metric] = value
    return Record(
        paper=reproduction.paper,
        profile=profile,
        recipe_digest=recipe_digest(wanted.values()),
        created=created,
        parameters=parameters.model_dump(mode="json"),
        arms=arms,
        environments=environments,
        data=data,
    )


def recipe_digest(wanted: Iterable[Trial]) -> str:
    """One digest over the descriptions of all trials: it changes when any of them does."""
    return hashlib.sha256(" ".join(sorted(t.digest for t in wanted)).encode()).hexdigest()[:24]


def _data_of(trial: Trial) -> dict[str, dict[str, str]]:
    """{data set: the digests of its parts}; empty for a trial without a data set."""
    if "data" not in trial.arguments:  # it draws its own data
        return {}
    name = trial.arguments["data"]["name"]
    digests = dict(card_of(name).sha256)
    if not digests:
        raise DataError(
            f"the card of {name} has no digests, and a record must say which data it is of: add "
            "them to the card first."
        )
    return {name: digests}
