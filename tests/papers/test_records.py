"""Records: written, read back, refused when damaged."""

import hashlib
import json
import math
import os

import pytest
from paper_tables import ENVIRONMENT, raw, record, save
from pydantic import ValidationError

from kdnb import papers
from kdnb.papers.records import PaperError, Record


def test_record_round_trip(home):
    made = save(seeds=11)
    read = papers.read_record("hinton2015", "laptop")
    assert read == made
    assert read.digest == made.digest
    path = papers.record_path("hinton2015", "laptop")
    assert os.listdir(path.parent) == ["laptop.json"]
    assert read.environments["e1"].versions == {"torch": "2.11"}


def test_digest_is_that_of_the_canonical_json(home):
    made = save(seeds=11)  # seeds 2 and 10 sort differently as numbers and as text
    plain = json.loads(papers.record_path("hinton2015", "laptop").read_text())
    assert plain.pop("digest") == made.digest  # beside what it is taken of
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert made.digest == hashlib.sha256(text.encode()).hexdigest()
    assert made.digest != record(seeds=11, student=151.0).digest
    backwards = raw(seeds=11)
    backwards["arms"] = dict(reversed(backwards["arms"].items()))
    assert Record.model_validate(backwards).digest == made.digest


def test_record_table():
    source = raw(seeds=3)
    del source["arms"]["teacher"]["1"]
    table = Record.model_validate(source).table()
    assert table.columns.names == ["arm", "metric"]
    assert list(table.index) == [0, 1, 2]
    assert list(table[("student", "test_errors")]) == [150, 151, 152]
    assert math.isnan(table.loc[1, ("teacher", "test_errors")])
    assert table[("teacher", "train_errors")].dropna().tolist() == [0, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_are_refused(value):
    metric, wall, free = raw(), raw(), raw()
    metric["arms"]["student"]["2"]["metrics"]["test_errors"] = value
    wall["arms"]["student"]["2"]["wall_s"] = value
    free["environments"]["e1"]["hardware"] = {"clocks": [1.0, value]}
    for bad, where in [(metric, "student"), (wall, "wall_s"), (free, "environments hold")]:
        with pytest.raises(ValidationError, match=where):
            Record.model_validate(bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["arms"]["student"]["0"].update(environment="e2"), "seed 0: environment 'e2'"),
        (lambda r: r["arms"].update({"T=20": r["arms"]["student"]}), "T=20"),
        (lambda r: r["data"]["mnist"].update(train="abc"), "data.mnist.train"),
        (lambda r: r.update(extra=1), "extra"),
        (lambda r: r.update(arms={}), "arms"),
        (lambda r: r["environments"]["e1"].pop("commit"), "commit"),
        (lambda r: r.update(profile="../up"), "profile"),
    ],
)
def test_a_wrong_record_names_the_field(change, message):
    bad = raw()
    change(bad)
    with pytest.raises(ValidationError, match=message):
        Record.model_validate(bad)


def test_damaged_files_give_one_sentence(home):
    save()
    path = papers.record_path("hinton2015", "laptop")
    whole = path.read_text()
    elsewhere = json.dumps(raw("quick"))
    for damaged, message in [
        (whole[: len(whole) // 2], "not valid JSON"),
        ("", "not valid JSON"),
        (whole.replace("150.0", "NaN", 1), "NaN is not a number"),
        (whole.replace('"commit"', '"comit"'), "commit: Field required"),
        (elsewhere, "holds 'hinton2015' at profile 'quick'"),
    ]:
        path.write_text(damaged)
        with pytest.raises(PaperError, match=message) as caught:
            papers.read_record("hinton2015", "laptop")
        assert str(path) in str(caught.value)
        assert str(caught.value).endswith("Restore it from git, or record it again.")
        assert "\n" not in str(caught.value)
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(PaperError, match="is damaged"):
        papers.read_record("hinton2015", "laptop")


def test_missing_record_names_those_there_are(home):
    with pytest.raises(PaperError, match="no record of 'hinton2015' at profile 'full'.*none"):
        papers.read_record("hinton2015", "full")
    save()
    with pytest.raises(PaperError, match="recorded: laptop"):
        papers.read_record("hinton2015", "full")


def test_environment_id_depends_on_the_content_alone():
    other = dict(reversed(ENVIRONMENT.items()))
    assert papers.environment_id(ENVIRONMENT) == papers.environment_id(other)
    assert papers.environment_id(ENVIRONMENT) != papers.environment_id({**other, "dirty": True})


def test_commit_names_every_commit_and_a_dirty_tree():
    source = raw()
    source["environments"]["e2"] = {"commit": "f" * 40, "dirty": True}
    assert Record.model_validate(source).commit == "0123456789ab, ffffffffffff+dirty"


def test_a_record_of_other_content_than_its_digest_is_refused(home):
    made = save()
    path = papers.record_path("hinton2015", "laptop")
    whole = path.read_text()
    for text, words in (
        (whole.replace("150.0", "151.0", 1), f"its digest is '{made.digest}', but its content has"),
        (
            whole.replace(made.digest, "0" * 64),
            f"is '{'0' * 64}', but its content has {made.digest}",
        ),
        (whole.replace(f'"{made.digest}"', "7"), "its digest is 7"),
    ):
        path.write_text(text)
        with pytest.raises(PaperError, match=words):
            papers.read_record("hinton2015", "laptop")


def test_a_record_of_before_digests_is_read(home):
    made = save()
    path = papers.record_path("hinton2015", "laptop")
    plain = json.loads(path.read_text())
    del plain["digest"]
    path.write_text(json.dumps(plain))
    assert papers.read_record("hinton2015", "laptop") == made
