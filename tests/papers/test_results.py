"""The papers that we reproduce: claims, profiles, verdicts."""

import importlib

import pandas as pd
import pytest
from paper_tables import CLAIMS, save

from kdnb import papers, paths
from kdnb.papers.quantities import PARAMETERS, parse
from kdnb.papers.records import PaperError
from kdnb.reproductions import (
    bashivan2019tgsa,
    chan2015,
    czarnecki2019,
    lopezpaz2016generalised,
    park2019rkd,
    polino2018,
    zhang2022glnn,
)


def test_profiles_are_never_mixed(home):
    save(profile="quick", seeds=2)
    save(profile="laptop", student=75.0)
    assert papers.profiles("hinton2015") == ["laptop", "quick"]
    assert papers.verdicts("hinton2015", "quick")[0].word == "not testable here"
    assert papers.verdicts("hinton2015", "laptop")[0].word == "contradicted"
    frame = papers.show_frame("hinton2015")
    assert list(dict.fromkeys(frame.profile)) == ["laptop", "quick"]
    both = frame[frame.quantity == "student - distilled"].set_index("profile")
    assert both.n.to_dict() == {"laptop": 6, "quick": 2}
    assert both.ours.to_dict() == {"laptop": -5.0, "quick": 70.0}
    only = papers.show_frame("hinton2015", "laptop")
    pd.testing.assert_frame_equal(only, frame[frame.profile == "laptop"])


@pytest.mark.parametrize("key", papers.reproduced_papers())
def test_every_condition_that_a_reader_meets_is_in_words(key):
    told = papers.conditions(key)
    assert set(told) == papers.named_conditions(key)  # else papers/<key>/conditions.toml lacks one
    assert len(set(told.values())) == len(told)
    for words in told.values():
        assert len(words) > 8 and words == words.strip(" .") and "_" not in words


def test_a_labelled_quantity_needs_no_words(home):
    assert papers.named_conditions("hinton2015") >= {"student", "distilled"}
    path = home / "papers" / "hinton2015" / "claims.toml"
    path.write_text(
        path.read_text().replace("[[claim.criterion]]", '[[claim.criterion]]\nlabel = "gain"')
    )
    named = {one for claim in papers.claims_of("hinton2015") for one in claim.published}
    assert papers.named_conditions("hinton2015") <= {
        word for quantity in named for word, _ in parse(quantity)[1]
    }
    assert papers.conditions("hinton2015") == {}  # no file, no words


def test_claims_of_another_paper_are_refused(home):
    path = home / "papers" / "hinton2015" / "claims.toml"
    path.write_text(CLAIMS.replace('"hinton2015"', '"zhang2018dml"'))
    with pytest.raises(PaperError, match="paper = 'zhang2018dml'.*folder is 'hinton2015'"):
        papers.verdicts("hinton2015", "laptop")


CLAIMED = sorted(path.parent.name for path in (paths.root() / "papers").glob("*/claims.toml"))


@pytest.mark.parametrize("key", CLAIMED)
def test_committed_claims_load(key):
    assert papers.claims_of(key)


MEASURED_BESIDE = {
    "bashivan2019tgsa": bashivan2019tgsa.conditions(bashivan2019tgsa.PROFILES["laptop"]),
    "czarnecki2019": czarnecki2019.conditions(czarnecki2019.PROFILES["laptop"]),
    "chan2015": chan2015.conditions(chan2015.PROFILES["laptop"]),
    "hinton2015": {"no_3_shifted", "only_7_8_shifted"},
    "lopezpaz2016generalised": lopezpaz2016generalised.conditions(
        lopezpaz2016generalised.PROFILES["laptop"]
    ),
    "park2019rkd": park2019rkd.CONDITIONS,
    "polino2018": polino2018.conditions(polino2018.PROFILES["laptop"]),
    "zhang2022glnn": zhang2022glnn.conditions(zhang2022glnn.PROFILES["laptop"]),
}


@pytest.mark.parametrize("key", CLAIMED)
def test_claims_speak_of_arms_that_run_and_of_metrics_that_are_measured(key):
    module = importlib.import_module(f"kdnb.reproductions.{key}")
    known = {arm for p in module.PROFILES.values() for arm in module.REPRODUCTION.arms(p)}
    known |= MEASURED_BESIDE.get(key, set())
    recorded = (paths.root() / "papers" / key / "results" / "laptop.json").exists()
    metrics = {m for _, m in papers.read_record(key, "laptop").table()} if recorded else None
    for claim in papers.claims_of(key):
        premises = [premise.quantity for premise in claim.premises]
        for quantity in claim.quantities() + premises:
            for arm, metric in parse(quantity)[1]:
                if arm == PARAMETERS:
                    assert metric in module.Parameters.model_fields, claim.id
                    continue
                assert arm in known, claim.id
                assert metrics is None or (metric or claim.metric) in metrics, claim.id
