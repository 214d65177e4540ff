"""Records, the bibliography, citations and the table of published against ours."""

import copy
import hashlib
import importlib
import io
import json
import math
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pybtex.database import parse_string
from pydantic import ValidationError
from rich.console import Console

import kdnb
from kdnb import papers, paths
from kdnb.papers.quantities import parse
from kdnb.papers.records import PaperError, Record
from kdnb.reproductions import hinton2015

CLAIMS = """
paper = "hinton2015"

[[claim]]
id = "order"
title = "Distillation closes most of the gap"
statement = "A distilled student makes fewer errors than the same student without a teacher."
where = "section 3"
metric = "test_errors"
unit = "errors of 10,000"
published = {teacher = 67, student = 146, distilled = 74}

[[claim.criterion]]
kind = "direction"
quantity = "student - distilled"
at_least = 0

[[claim.criterion]]
kind = "magnitude"
quantity = "(student - distilled) / (student - teacher)"
pooled = true
at_least = 0.6

[[claim]]
id = "few-data"
title = "Soft targets need a fraction of the data"
statement = "On few data soft targets beat labels."
where = "section 5"
metric = "test_errors"

[[claim.criterion]]
kind = "direction"
quantity = "few_hard - few_soft"
at_least = 0
"""

REPOSITORY = Path(papers.__file__).parents[2]
ENVIRONMENT = {"commit": "0123456789abcdef", "dirty": False, "versions": {"torch": "2.11"}}


def raw(profile="laptop", seeds=6, student=150.0):
    means = {"teacher": 70.0, "student": student, "distilled": 80.0}
    arms = {
        arm: {
            str(seed): {
                "metrics": {"test_errors": mean + seed, "train_errors": 0.0},
                "trial": hashlib.sha256(f"{arm}{seed}".encode()).hexdigest(),
                "environment": "e1",
                "wall_s": 12.5,
            }
            for seed in range(seeds)
        }
        for arm, mean in means.items()
    }
    return {
        "paper": "hinton2015",
        "profile": profile,
        "recipe_digest": "ab" * 32,
        "created": "2026-11-01T00:00:00Z",
        "arms": arms,
        "environments": {"e1": copy.deepcopy(ENVIRONMENT)},
        "data": {"mnist": {"train": "0" * 64, "test": "1" * 64}},
    }


def record(**options):
    return Record.model_validate(raw(**options))


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "papers" / "hinton2015").mkdir(parents=True)
    (tmp_path / "papers" / "hinton2015" / "claims.toml").write_text(CLAIMS)
    bib = REPOSITORY / "papers" / "references.bib"
    shutil.copy(bib, tmp_path / "papers" / "references.bib")
    monkeypatch.setenv("KDNB_HOME", str(tmp_path))
    return tmp_path


def save(**options):
    made = record(**options)
    papers.write_record(made, papers.record_path("hinton2015", made.profile))
    return made


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


def test_profiles_are_never_mixed(home):
    save(profile="quick", seeds=2)
    save(profile="laptop", student=75.0)
    assert papers.profiles("hinton2015") == ["laptop", "quick"]
    assert papers.verdicts("hinton2015", "quick")[0].word == "direction only"
    assert papers.verdicts("hinton2015", "laptop")[0].word == "not reproduced"
    frame = papers.show_frame("hinton2015")
    assert list(dict.fromkeys(frame.profile)) == ["laptop", "quick"]
    both = frame[frame.quantity == "student - distilled"].set_index("profile")
    assert both.n.to_dict() == {"laptop": 6, "quick": 2}
    assert both.ours.to_dict() == {"laptop": -5.0, "quick": 70.0}
    only = papers.show_frame("hinton2015", "laptop")
    pd.testing.assert_frame_equal(only, frame[frame.profile == "laptop"])


def test_show_frame_sets_published_beside_ours(home):
    save()
    frame = papers.show_frame("hinton2015", "laptop")
    order = frame[frame.claim == "order"].set_index("quantity")
    assert list(order.published) == pytest.approx([67, 146, 74, 72, 72 / 79])
    assert list(order.ours) == pytest.approx([72.5, 152.5, 82.5, 70, 70 / 80])
    assert order.p["student - distilled"] == 0.03125
    assert list(order.interval) == ["t", "t", "t", "t", "BCa"]
    assert set(order.verdict) == {"reproduced"}
    assert list(order.unit) == ["errors of 10,000"] * 4 + [""]
    (few,) = frame[frame.claim == "few-data"].itertuples()
    assert (few.verdict, few.n) == ("not testable here", 0)
    assert "no results for arm 'few_hard'" in few.note


def text_of(table):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_show_prints_both_numbers_and_the_verdict(home):
    save()
    save(profile="quick", seeds=2)
    text = text_of(papers.show("hinton2015"))
    row = next(line for line in text.splitlines() if "student - distilled" in line)
    for cell in ("> 0", "72", "70", "70 to 70 (t)", "6", "0.0312"):
        assert cell in [part.strip() for part in row.split("│")]
    assert "not testable (n = 2 < 6)" in text
    assert "reproduced" in text


def test_show_before_any_record(home):
    text = text_of(papers.show("hinton2015"))
    assert "No results are recorded yet." in text
    assert "146" in text
    assert set(papers.show_frame("hinton2015").verdict) == {"not testable here"}


def test_unknown_papers_name_the_nearest(home):
    with pytest.raises(PaperError, match="no claims of 'hinton2014'.*nearest: hinton2015"):
        papers.show("hinton2014")
    with pytest.raises(PaperError, match="no entry 'romero2015'.*romero2015fitnets"):
        papers.cite("romero2015")
    with pytest.raises(PaperError, match="no claim 'ordr'.*nearest: order"):
        papers.cite("hinton2015", claim="ordr")
    with pytest.raises(PaperError, match="no claims of 'ba2014'"):
        papers.cite("ba2014", profile="laptop")
    with pytest.raises(PaperError, match="no record"):
        papers.cite("hinton2015", profile="laptop")


def test_claims_of_another_paper_are_refused(home):
    path = home / "papers" / "hinton2015" / "claims.toml"
    path.write_text(CLAIMS.replace('"hinton2015"', '"zhang2018dml"'))
    with pytest.raises(PaperError, match="paper = 'zhang2018dml'.*folder is 'hinton2015'"):
        papers.verdicts("hinton2015", "laptop")


def test_cite_is_bibtex_with_a_citable_line(home):
    made = save()
    text = papers.cite("hinton2015", "laptop", "order")
    assert list(parse_string(text, "bibtex").entries) == ["hinton2015", "gou2021survey", "kdnb"]
    (line,) = [line for line in text.splitlines() if line.startswith("%")]
    assert line == (
        "% kdnb, hinton2015, claim order: reproduced; student - distilled = 70 errors of 10,000 "
        "(95% t interval 70 to 70, n = 6); profile laptop, commit 0123456789ab, record sha256 "
        + made.digest
    )
    lines = [line for line in papers.cite("hinton2015").splitlines() if line.startswith("%")]
    assert len(lines) == 2
    assert "not testable here; few_hard - few_soft: there are no results" in lines[1]


def test_cite_without_results(home):
    assert "% kdnb has no recorded result of hinton2015 yet." in papers.cite("hinton2015")
    assert list(parse_string(papers.cite("ba2014"), "bibtex").entries) == [
        "ba2014",
        "gou2021survey",
        "kdnb",
    ]
    assert papers.cite("kdnb").count("@misc{kdnb,") == 1


def test_every_entry_is_complete():
    needed = {"article": "journal", "inproceedings": "booktitle", "techreport": "institution"}
    entries = papers.bibliography().entries
    assert {"hinton2015", "gou2021survey", "kdnb", "ba2014", "muller2019"} <= set(entries)
    for key, entry in entries.items():
        assert entry.persons["author"], key
        assert {"title", "year", needed.get(entry.type, "title")} <= set(entry.fields), key
        if "eprint" in entry.fields:
            assert entry.fields["archiveprefix"] == "arXiv", key
        again = parse_string(papers.bibtex(key), "bibtex").entries[key]
        assert again.fields == entry.fields, key


def test_the_bibliography_knows_our_version_and_every_reproduced_paper():
    assert f"version {kdnb.__version__}" in papers.bibliography().entries["kdnb"].fields["note"]
    assert set(papers.reproduced_papers()) <= set(papers.bibliography().entries)


@pytest.mark.parametrize(
    "key", sorted(p.parent.name for p in REPOSITORY.glob("papers/*/claims.toml"))
)
def test_committed_claims_load(key):
    assert papers.claims_of(key)


# Arms that `measure` makes out of the trial of another arm.
MEASURED_BESIDE = {"hinton2015": {"no_3_shifted", "only_7_8_shifted"}}
CLAIMED = sorted(path.parent.name for path in (paths.root() / "papers").glob("*/claims.toml"))


@pytest.mark.parametrize("key", CLAIMED)
def test_claims_speak_of_arms_that_run_and_of_metrics_that_are_measured(key):
    module = importlib.import_module(f"kdnb.reproductions.{key}")
    profiles = getattr(module, "PROFILES", hinton2015.PROFILES)  # Müller's are Hinton's
    known = {arm for p in profiles.values() for arm in module.REPRODUCTION.arms(p)}
    known |= MEASURED_BESIDE.get(key, set())
    recorded = (paths.root() / "papers" / key / "results" / "laptop.json").exists()
    metrics = {m for _, m in papers.read_record(key, "laptop").table()} if recorded else None
    for claim in papers.claims_of(key):
        for quantity in claim.quantities():
            for arm, metric in parse(quantity)[1]:
                assert arm in known, claim.id
                assert metrics is None or (metric or claim.metric) in metrics, claim.id
