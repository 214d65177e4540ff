"""Repeating a record's conditions on new seeds: do its verdicts hold?"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor

import pandas as pd

from kdnb import reproductions
from kdnb.names import UsageError
from kdnb.papers import judging, results
from kdnb.papers.records import read_record


def replicate(
    key: str,
    profile: str = "laptop",
    *,
    seeds: int | None = None,
    only: Iterable[str] = (),
    jobs: int = 1,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """Run the conditions of a record on new seeds, and judge its claims on these alone.

    The new seeds follow the last recorded one. Nothing is written to the record; finished trials are not
    run again.

    Args:
        key: the key of the paper.
        profile: the profile of the record.
        seeds: number of seeds; as many as the record has if None.
        only: the conditions to run; all of the record if empty. Claims about others are left out.
        jobs: number of parallel processes.
        executor: runs the trials instead, see `trials.run_all`.

    Returns:
        One row for each criterion of each claim: `claim`, `quantity`, and for both `recorded` and `again`
        the `n`, `mean`, `low` and `high` of its 95% interval and the `word` of the claim's verdict.

    Raises:
        PaperError: for an unknown paper, and for a profile without a record.
        UsageError: for an unknown condition, and for a record of a setting that the package no longer has.
    """
    module, record = reproductions.module_of(key), read_record(key, profile)
    recorded = record.parameters
    parameters = module.Parameters(
        **(recorded | {"seeds": seeds or recorded["seeds"], "arms": list(only) or recorded["arms"]})
    )
    if not reproductions.same_setting(record, module.REPRODUCTION, parameters):
        raise UsageError(
            f"the {profile} record of {key} was made in an older setting: make it again first "
            f"(kdnb reproduce {key} --profile {profile})."
        )
    first = 1 + max(seed for outcomes in record.arms.values() for seed in outcomes)
    with reproductions.workers(jobs, executor) as places:
        made = reproductions.reproduce(
            module.REPRODUCTION,
            parameters,
            profile=profile,
            arms=parameters.arms,
            executor=places,
            first=first,
        )
    claims = [claim for claim in results.claims_of(key) if not claim.identity]
    pairs = zip(
        judging.judge_all(claims, record.table()),
        judging.judge_all(claims, made.table()),
        strict=True,
    )
    return pd.DataFrame(
        [
            {"claim": old.claim.id, "quantity": f"{a.name} {a.requirement}".strip()}
            | _numbers("recorded", old, a)
            | _numbers("again", new, b)
            for old, new in pairs
            if new.word != "not testable here"
            for a, b in zip(old.results, new.results, strict=True)
        ]
    )


def _numbers(when: str, verdict: judging.Verdict, found: judging.Finding) -> dict[str, object]:
    values = {name: getattr(found, name) for name in ("n", "mean", "low", "high")}
    return {f"{when}_{name}": value for name, value in (values | {"word": verdict.word}).items()}
