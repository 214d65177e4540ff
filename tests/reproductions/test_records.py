"""The records: every trial in them is still described by its reproduction; making and keeping them."""

import shutil
import types
from functools import cache

import pytest
import trial_functions  # noqa: F401 - registers its functions
from typer.testing import CliRunner

from kdnb import papers, paths, reproductions
from kdnb.data import DataError
from kdnb.names import UsageError
from kdnb.papers.records import UnknownPaper, earlier_path, read_record, record_path
from kdnb.reproductions import Reproduction, keep, merged, recipe_digest, reproduce, same_setting
from kdnb.reproductions.zhang2018dml import PROFILES, Parameters
from kdnb.runs.trials import Trial
from kdnb.workbook import cli

RECORDS = [(key, name) for key in papers.reproduced_papers() for name in papers.profiles(key)]


@pytest.mark.parametrize(("key", "profile"), RECORDS)
def test_every_recorded_trial_is_described_today_by_its_digest(key, profile):
    """By the recorded parameters, with the module's own model and arms."""
    record, module = read_record(key, profile), reproductions.module_of(key)
    arms = module.REPRODUCTION.arms(module.Parameters(**record.parameters))
    digest = cache(lambda arm, seed: arms[arm](seed).digest)
    checked = 0
    for arm, seeds in record.arms.items():
        for seed, outcome in seeds.items():
            # An arm without trials of its own is measured on another's of the same seed. So is one
            # that has the name of a trial by chance (`clean` x `labels`): such trials are not recorded.
            unnamed = [name for name in arms if name not in record.arms]
            known = [arm, *unnamed] if arm in arms else list(arms)
            assert outcome.trial in {digest(name, seed) for name in known}, (arm, seed)
            checked += 1
    assert checked == sum(map(len, record.arms.values())) > 0


@pytest.mark.parametrize("key", papers.reproduced_papers())
def test_every_reproduction_has_parameters_and_profiles_of_its_own(key):
    module = reproductions.module_of(key)
    assert {"quick", "laptop", "full"} <= set(module.PROFILES)
    for parameters in module.PROFILES.values():
        assert isinstance(parameters, module.Parameters)
        assert set(parameters.arms) <= set(module.REPRODUCTION.arms(parameters))


def test_an_unknown_paper_profile_or_condition_is_named_before_anything_runs():
    with pytest.raises(UnknownPaper, match="no claims of 'zhang2018'.*zhang2018dml"):
        reproductions.record("zhang2018")
    with pytest.raises(UnknownPaper, match="'zhang2018dml' has no profile 'lap' .nearest: laptop"):
        reproductions.record("zhang2018dml", "lap")
    with pytest.raises(ValueError, match="has no arm 'mutuall'"):
        reproductions.record("zhang2018dml", only=["mutuall"])


# A paper of two arms whose trials cost nothing


@pytest.fixture
def cheap(monkeypatch, tmp_path):
    for part in ("data/mnist.toml", "papers/references.bib"):
        (tmp_path / part).parent.mkdir()
        shutil.copy(paths.root() / part, tmp_path / part)
    monkeypatch.setenv("KDNB_HOME", str(tmp_path))
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDNB_TEST_TRACE", str(tmp_path / "trace"))

    def arms(p):
        def arm(value):
            arguments = {"data": {"name": "mnist"}, "value": value}
            return lambda seed: Trial("counted", arguments, seed)

        return {"apart": arm(10 * p.epochs), "together": arm(5)}

    def measure(arm, result):
        extra = {"both.errors": 1.0} if arm == "together" else {}
        return {"errors": result.metrics["errors"], **extra}

    return Reproduction("zhang2018dml", arms, measure)


def made(cheap, arms=(), **changes):
    parameters = Parameters(**{"seeds": 2, "arms": list(arms), **changes})
    found = reproduce(cheap, parameters, profile="laptop", arms=parameters.arms)
    return keep(found, cheap, parameters)


def ran(tmp_path):
    return [line.removeprefix("counted ") for line in (tmp_path / "trace").read_text().split("\n")]


def test_more_conditions_and_seeds_are_taken_up_into_a_record(cheap, tmp_path):
    first = made(cheap, ["apart"])
    assert set(first.arms) == {"apart"} and first.parameters["arms"] == ["apart"]
    both = made(cheap, ["together"])
    assert set(both.arms) == {"apart", "together", "both"}
    assert both.arms["apart"] == first.arms["apart"]
    assert both.parameters["arms"] == []  # that is: all
    assert ran(tmp_path) == ["20 0", "20 1", "5 0", "5 1", ""]
    more = made(cheap, ["apart"], seeds=3)
    assert ran(tmp_path)[4:] == ["20 2", ""]
    assert (set(more.arms["apart"]), set(more.arms["together"])) == ({0, 1, 2}, {0, 1})
    assert more.parameters["seeds"] == 3
    assert read_record("zhang2018dml", "laptop") == more
    assert not earlier_path(more).parent.exists()


def test_a_record_made_in_parts_is_the_one_made_at_once(cheap):
    made(cheap, ["together"])
    parts = made(cheap, ["apart"])
    record_path("zhang2018dml", "laptop").unlink()
    at_once = made(cheap)
    assert parts == at_once
    arms = cheap.arms(Parameters(seeds=2, arms=[]))
    today = recipe_digest(arm(seed) for arm in arms.values() for seed in range(2))
    assert parts.recipe_digest == today


def test_data_without_digests_is_refused_before_anything_runs(cheap, monkeypatch, tmp_path):
    """Such as IMDB's reviews: nobody could tell later which data the record is of."""
    without = types.SimpleNamespace(sha256={})
    monkeypatch.setattr(reproductions, "card_of", lambda name: without)
    with pytest.raises(DataError, match="the card of mnist has no digests, and a record must say"):
        made(cheap)
    assert not (tmp_path / "trace").exists()


def test_a_record_of_another_setting_moves_to_earlier(cheap):
    old = made(cheap)
    text = record_path("zhang2018dml", "laptop").read_text()
    new = made(cheap, epochs=3)
    assert earlier_path(old).read_text() == text
    assert earlier_path(old).parent.name == "earlier"
    assert read_record("zhang2018dml", "laptop") == new
    assert new.arms["apart"][0].metrics == {"errors": 30.0}


def test_a_trial_that_is_not_todays_is_another_setting(cheap):
    reproduction = cheap
    old, parameters = made(cheap), Parameters(seeds=2, arms=[])
    assert same_setting(old, reproduction, parameters)
    assert same_setting(old, reproduction, parameters.model_copy(update={"seeds": 9}))
    assert not same_setting(old, reproduction, parameters.model_copy(update={"epochs": 7}))
    other = Reproduction(
        "zhang2018dml",
        lambda p: {"apart": reproduction.arms(p)["apart"]},
        reproduction.measure,
    )
    assert not same_setting(old, other, parameters)


def test_where_two_arms_measure_on_one_the_values_are_joined(cheap):
    reproduction = cheap
    old = made(cheap, ["apart"])
    beside = old.arms["apart"][0].model_copy(update={"metrics": {"flatness": 2.0}, "trial": "x"})
    new = old.model_copy(update={"arms": {"apart": {0: beside}}})
    joined = merged(old, new, reproduction, Parameters(seeds=2, arms=["apart"]))
    outcome = joined.arms["apart"][0]
    assert outcome.metrics == {"errors": 20.0, "flatness": 2.0}
    assert outcome.trial == old.arms["apart"][0].trial


def test_the_command_makes_the_record_and_judges_it(monkeypatch):
    asked = {}

    def record(key, profile, **options):
        asked.update(key=key, profile=profile, **options)
        return read_record(key, profile)

    monkeypatch.setattr(reproductions, "record", record)
    done = CliRunner().invoke(
        cli.app, ["reproduce", "zhang2018dml", "--seeds", "9", "--only", "mutual", "--jobs", "1"]
    )
    assert done.exit_code == 0, done.output
    assert asked == {
        "key": "zhang2018dml", "profile": "laptop", "seeds": 9, "only": ["mutual"], "jobs": 1,
        "executor": None,
    }  # fmt: skip
    assert "both-improve" in done.output


@pytest.mark.parametrize("option", [["--devices", "2"], ["--compile"]])
def test_what_is_of_this_machine_is_not_asked_of_a_cluster(option):
    command = ["reproduce", "zhang2018dml", "--cluster", "local", *option]
    done = CliRunner().invoke(cli.app, command)
    assert isinstance(done.exception, UsageError)
    assert f"{option[0]} is for this machine" in str(done.exception)


def test_a_profile_may_name_its_conditions():
    arms = ["teacher", "distilled", "dafl", "dafl_published_batch"]
    assert reproductions.parameters_at("chen2019dafl", "long").arms == arms


def test_seeds_of_a_profile_can_be_changed():
    parameters = reproductions.parameters_at("zhang2018dml", "laptop", 30)
    assert parameters == PROFILES["laptop"].model_copy(update={"seeds": 30})
    with pytest.raises(ValueError, match="seeds"):
        reproductions.parameters_at("zhang2018dml", "laptop", 0)
