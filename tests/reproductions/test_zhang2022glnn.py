"""GLNN's arms: the authors' configuration, what a seed's students share, what is seen and scored."""

from types import SimpleNamespace

import pytest
import torch
from small_graphs import two_villages

from kdnb import papers
from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import reproduce
from kdnb.reproductions import zhang2022glnn as paper
from kdnb.runs.functions import graph as trials
from kdnb.runs.functions.graph import TAUGHT, glnn_trial, structure_trial

ARMS = paper.arms(paper.PROFILES["laptop"])
TINY = paper.Parameters(epochs=3, seeds=1, arms=[])
GRAPH = two_villages(size=80)


@pytest.fixture
def village(tmp_path, monkeypatch):
    """A small graph of two classes in place of all citation graphs."""
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(trials, "load_graph", lambda name: GRAPH)
    return GRAPH


def a_trial(students, epochs=3, **data):
    data = {**trials.graph_spec("cora"), **data}
    networks = paper.networks(TINY.model_copy(update={"epochs": epochs}), "cora")
    return glnn_trial(None, 0, data=data, networks=networks, students=students).metrics


def test_networks_and_recipe_are_the_authors():
    asked = ARMS["transductive"](0).arguments
    rows = {
        kind: (one["width"], one["dropout"], one["recipe"]["weight_decay"])
        for kind, one in asked["networks"].items()
    }
    assert rows == {
        "sage": (128, 0.0, 0.0005), "gcn": (64, 0.8, 0.001), "mlp": (128, 0.6, 0.005),
    }  # fmt: skip
    assert ARMS["citeseer"](0).arguments["networks"]["mlp"]["dropout"] == 0.1
    mlp = ARMS["pubmed"](0).arguments["networks"]["mlp"]
    assert (mlp["dropout"], mlp["recipe"]["lr"], mlp["recipe"]["weight_decay"]) == (0.4, 0.005, 0.0)
    recipe = asked["networks"]["mlp"]["recipe"]
    assert (recipe["optimiser"], recipe["lr"], recipe["schedule"]) == ("adam", 0.01, "constant")
    assert paper.PROFILES["laptop"].seeds >= 10


def test_records_score_test_nodes_and_hide_a_fifth_of_them_in_the_inductive_trials():
    for name, arm in ARMS.items():
        data = arm(0).arguments["data"]
        assert data["scored"] == "test"
        assert data["hidden"] == (0.2 if "inductive" in name else 0.0)
        assert data["sha256"] == trials.graph_card(data["name"]).sha256["graph"]
    assert set(TAUGHT) < set(ARMS["transductive"](0).arguments["students"])


def test_a_claim_has_its_arms_and_metrics(village):
    record = reproduce(paper.REPRODUCTION, TINY, profile="custom")
    table = record.table()
    for claim in claims_of("zhang2022glnn"):
        wanted = [*claim.quantities(), *(premise.quantity for premise in claim.premises)]
        for quantity in wanted:
            for arm, metric in parse(quantity)[1]:
                assert (arm, metric or claim.metric) in table.columns, (claim.id, quantity)
    named = {arm for arm, _ in table.columns}
    assert named == paper.conditions(TINY) | set(ARMS) - {"structure"}
    assert set(record.data) == {"cora", "citeseer", "pubmed"}
    assert papers.claims_of("zhang2022glnn")


def test_quick_runs_two_arms(village):
    quick = paper.PROFILES["quick"]
    assert set(quick.arms) <= set(ARMS) and quick.seeds == 1


def test_students_start_alike_and_are_functions_of_the_seed(village):
    one, other = a_trial(["labels", "glnn"]), a_trial(["glnn", "labels"])
    assert one == other


def test_hidden_nodes_touch_no_training(village, monkeypatch):
    """Other words, labels and edges of hidden nodes change no answer on the seen ones."""
    data = {"hidden": 0.3}
    one = a_trial(["labels", "glnn"], **data)
    split = trials.split_nodes(GRAPH.largest_component().labels, 0, hidden=0.3)
    whole = GRAPH.largest_component()
    words = whole.features.to_dense().clone()
    words[split.hidden] = 1 - words[split.hidden]
    touched = (torch.isin(whole.edges, split.hidden)).any(0)
    spoilt = trials.Graph(words.to_sparse().coalesce(), whole.edges, whole.labels)
    spoilt_graph = SimpleNamespace(largest_component=lambda: spoilt)
    assert touched.any()
    monkeypatch.setattr(trials, "load_graph", lambda name: spoilt_graph)
    two = a_trial(["labels", "glnn"], **data)
    for name in one:
        if name.endswith(("_train", "_test")):
            assert one[name] == two[name], name
    assert any(one[name] != two[name] for name in one if name.endswith("_hidden"))


def test_pilots_read_no_test_label(village, monkeypatch):
    one = a_trial(["labels", "few", *TAUGHT], scored="validation")
    whole = GRAPH.largest_component()
    split = trials.split_nodes(whole.labels, 0)
    real = trials.split_nodes
    labels = whole.labels.clone()
    labels[split.test] = 1 - labels[split.test]
    spoilt = trials.Graph(whole.features, whole.edges, labels)
    monkeypatch.setattr(
        trials, "load_graph", lambda name: SimpleNamespace(largest_component=lambda: spoilt)
    )
    monkeypatch.setattr(trials, "split_nodes", lambda _, seed, hidden: real(whole.labels, seed))
    assert a_trial(["labels", "few", *TAUGHT], scored="validation") == one


def answers(village):
    data = trials.graph_spec("cora")
    return trials._Answers(trials._Task(0, data, paper.networks(TINY, "cora")))


def test_controls_are_what_they_say(village):
    made = answers(village)
    choice = made.sage.argmax(1)
    assert made.hard().softmax(1).max(1).values.eq(1).all()
    assert made.hard().argmax(1).equal(choice)
    within = made.shuffled_within()
    assert within.argmax(1).equal(choice) and not within.equal(made.sage)
    assert within.sort(0).values.equal(made.sage.sort(0).values)
    shuffled = made.shuffled()
    assert shuffled.sort(0).values.equal(made.sage.sort(0).values)
    assert not shuffled.argmax(1).equal(choice)
    assert not made.untrained().equal(made.sage)
    torch.testing.assert_close(made.propagation.exp().sum(1), torch.ones(len(made.sage)))
    assert not made.rewired_graph.edges.equal(made.task.observed.edges)


def test_production_is_both_kinds_of_test_nodes(village):
    found = a_trial(["glnn"], hidden=0.25)
    split = trials.split_nodes(GRAPH.largest_component().labels, 0, hidden=0.25)
    share = len(split.hidden) / (len(split.hidden) + len(split.test))
    expected = share * found["glnn_hidden"] + (1 - share) * found["glnn_test"]
    assert found["glnn_production"] == pytest.approx(expected)
    assert "glnn_hidden" not in a_trial(["glnn"])


def test_structures_are_measured_for_every_student(village):
    gcn = paper.networks(TINY, "cora")["gcn"]
    found = structure_trial(
        None, 0, data=trials.graph_spec("cora"),
        networks={"gcn": gcn, "narrow": {**gcn, "width": 4, "dropout": 0.0}},
        students=paper.STRUCTURES,
    ).metrics  # fmt: skip
    assert {f"{name}_divergence" for name in paper.STRUCTURES} < set(found)
    assert "teacher_divergence" not in found
    assert found["labels_divergence"] != found["kept_strongly_divergence"]


def test_an_unknown_student_is_refused(village):
    with pytest.raises(ValueError, match="there is no student 'glmm': labels, smoothed, few"):
        a_trial(["glmm"])


def test_measures_have_the_names_of_their_trial():
    result = SimpleNamespace(metrics={"from_gcn_test": 60.0, "glnn_hidden": 70.0, "nodes": 5})
    assert paper.measure("inductive", result) == {
        "inductive_from_gcn.accuracy": 60.0, "inductive_glnn.hidden_accuracy": 70.0,
        "inductive.nodes": 5,
    }  # fmt: skip
