"""One module for each paper we reproduce: its arms, and what is measured on them.

An arm is one way of training, repeated over seeds; the claims in `papers/<key>/claims.toml` are
about arms. `reproduce` runs the arms as trials and gathers what they measured into a record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from kdnb.data import card
from kdnb.papers.records import Record, environment_id
from kdnb.runs import trials
from kdnb.runs.trials import Result, Trial

Arms = dict[str, Callable[[int], Trial]]


@dataclass(frozen=True)
class Reproduction:
    """How a paper is reproduced.

    Attributes:
        paper: its key in `papers/references.bib`.
        arms: chapter parameters -> for each arm, seed -> trial.
        measure: (arm, result) -> the metrics of one arm and seed. It may give several arms out
            of one trial: a name `other.metric` counts for the arm `other`.
    """

    paper: str
    arms: Callable[[Any], Arms]
    measure: Callable[[str, Result], dict[str, float]]


def reproduce(
    reproduction: Reproduction,
    parameters: Any,
    *,
    profile: str,
    arms: Iterable[str] = (),
    executor: Executor | None = None,
) -> Record:
    """Run arms over seeds 0, 1, ... and return the record of what they measured.

    Args:
        parameters: the chapter's; `parameters.seeds` tells how many seeds.
        profile: the name the record carries: `quick`, `laptop`, `full` or `custom`.
        arms: their names; all when empty.
        executor: where the trials run, see `trials.run_all`.

    Raises:
        ValueError: for an arm that the paper's reproduction does not have.
    """
    wanted = chosen(reproduction, parameters, arms)
    results = trials.run_all(wanted.values(), executor)
    return _record(reproduction, profile, parameters, wanted, results)


def chosen(
    reproduction: Reproduction, parameters: Any, arms: Iterable[str] = ()
) -> dict[tuple[str, int], Trial]:
    """(arm, seed) -> the trial that `reproduce` runs for it, with the same arguments and errors.

    Seed by seed, so that an interrupted run has whole pairs.
    """
    arms, available = list(arms), reproduction.arms(parameters)
    if unknown := set(arms) - set(available):
        raise ValueError(
            f"{reproduction.paper} has no arm {min(unknown)!r}; it has {', '.join(available)}."
        )
    wanted = [name for name in available if not arms or name in arms]
    return {
        (name, seed): available[name](seed) for seed in range(parameters.seeds) for name in wanted
    }


def _record(reproduction, profile, parameters, wanted, results) -> Record:
    arms: dict[str, dict[str, dict[str, Any]]] = {}
    environments: dict[str, dict[str, Any]] = {}
    data: dict[str, dict[str, str]] = {}
    created = ""  # when the last trial ended: making the record again gives the same record
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
    name = trial.arguments["data"]["name"]
    return {name: dict(card(name).sha256)}
