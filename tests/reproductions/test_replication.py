"""Conditions of a record again on new seeds: which run, what is judged, and what stays as it is."""

import shutil

import pytest
import trial_functions  # noqa: F401 - registers its functions
from typer.testing import CliRunner

from kdnb import paths, reproductions
from kdnb.names import UsageError
from kdnb.papers.records import UnknownPaper, record_path
from kdnb.reproductions import Reproduction, keep, replication, reproduce
from kdnb.reproductions.zhang2018dml import Parameters
from kdnb.runs.trials import Trial
from kdnb.workbook import cli

KEY = "zhang2018dml"
CLAIMS = """
paper = "zhang2018dml"

[[premise]]
why = "those together err"
quantity = "together.errors"
at_least = 1

[[claim]]
id = "better"
title = "Together is better"
statement = "Those together make fewer errors."
where = "table 1"
metric = "errors"
unit = "errors"
published = {}

[[claim.criterion]]
kind = "direction"
quantity = "apart - together"
at_least = 0
smallest = 1

[[claim]]
id = "about-another"
title = "Beside a third"
statement = "A third makes as many errors."
where = "table 2"
metric = "errors"
unit = "errors"
published = {}

[[claim.criterion]]
kind = "direction"
quantity = "third - together"
at_least = 0
smallest = 1
"""


@pytest.fixture
def paper(monkeypatch, tmp_path):
    """A paper whose networks together make 15 errors fewer with any seed below 8, and 3 more from there on."""
    for part in ("data/mnist.toml", "papers/references.bib"):
        (tmp_path / part).parent.mkdir()
        shutil.copy(paths.root() / part, tmp_path / part)
    (tmp_path / "papers" / KEY).mkdir()
    (tmp_path / "papers" / KEY / "claims.toml").write_text(CLAIMS)
    monkeypatch.setenv("KDNB_HOME", str(tmp_path))
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDNB_TEST_TRACE", str(tmp_path / "trace"))

    def arms(p):
        def arm(value, later):
            def trial(seed):
                amount = value if seed < 8 else later
                return Trial("counted", {"data": {"name": "mnist"}, "value": amount}, seed)

            return trial

        return {"apart": arm(20, 20), "together": arm(5, 23), "third": arm(9, 9)}

    module = reproductions.module_of(KEY)
    made = Reproduction(KEY, arms, lambda arm, result: dict(result.metrics))
    monkeypatch.setattr(module, "REPRODUCTION", made)
    parameters = Parameters(seeds=8, arms=["apart", "together"])
    keep(reproduce(made, parameters, profile="laptop", arms=parameters.arms), made, parameters)
    (tmp_path / "trace").unlink()
    return tmp_path


def test_the_claims_are_judged_on_seeds_that_the_record_lacks(paper):
    before = record_path(KEY, "laptop").read_bytes()
    frame = replication.replicate(KEY)
    assert frame["claim"].tolist() == ["better"]  # the third was never run
    (row,) = frame.to_dict("records")
    assert (row["recorded_n"], row["recorded_mean"], row["recorded_word"]) == (8, 15, "reproduced")
    assert (row["again_n"], row["again_mean"], row["again_word"]) == (8, -3, "contradicted")
    ran = {line.split()[-1] for line in (paper / "trace").read_text().splitlines()}
    assert ran == {str(seed) for seed in range(8, 16)}
    assert record_path(KEY, "laptop").read_bytes() == before
    assert not (record_path(KEY, "laptop").parent / "earlier").exists()


def test_a_claim_about_conditions_that_were_not_asked_for_is_left_out(paper):
    assert replication.replicate(KEY, seeds=2, only=["apart"]).empty


def test_the_command_shows_both_verdicts_and_counts_those_that_agree(paper):
    done = CliRunner().invoke(cli.app, ["replicate", KEY, "--jobs", "1"])
    assert done.exit_code == 0, done.output
    assert "better  recorded: reproduced, again: contradicted" in done.output
    assert "The same verdict: 0 of 1." in done.output
    assert max(map(len, done.output.splitlines())) <= 80
    nothing = CliRunner().invoke(cli.app, ["replicate", KEY, "--only", "apart", "--jobs", "1"])
    assert f"No claim of {KEY} can be judged on these conditions." in nothing.output


def test_what_cannot_be_replicated_is_named_before_anything_runs(paper, monkeypatch):
    with pytest.raises(UsageError, match="has no arm 'apartt'.*apart"):
        replication.replicate(KEY, only=["apartt"])
    with pytest.raises(UnknownPaper, match="no claims of 'zhang2018'"):
        replication.replicate("zhang2018")
    with pytest.raises(Exception, match="full"):
        replication.replicate(KEY, "full")
    other = Reproduction(
        KEY, lambda p: {"apart": lambda seed: Trial("counted", {"value": 1}, seed)}, lambda *_: {}
    )
    monkeypatch.setattr(reproductions.module_of(KEY), "REPRODUCTION", other)
    with pytest.raises(UsageError, match="older setting: make it again first"):
        replication.replicate(KEY, only=["apart"])
    assert not (paper / "trace").exists()
