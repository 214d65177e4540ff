"""LwF's conditions: the table's protocol, what a seed's trials share, and what a pilot may read."""

import dataclasses

import pytest
import torch

from kdnb import data as datasets
from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import li2017lwf as paper
from kdnb.runs.functions import lifelong as trials
from kdnb.runs.functions.lifelong import lifelong_spec, lifelong_trial

LAPTOP = paper.PROFILES["laptop"]
ARMS = paper.arms(LAPTOP)
TINY = paper.Parameters(width=8, train_images=400, pair_images=300, test_images=200, arms=[])


def a_trial(arm, seed=0, **changes):
    arguments = {**paper.arms(TINY)[arm](seed).arguments, **changes}
    return lifelong_trial(None, seed, **arguments)


def test_network_and_recipe_are_those_of_the_table():
    for name, arm in ARMS.items():
        asked = arm(0).arguments
        assert asked["network"] == {"name": "mlp", "widths": [400, 400]}
        recipe = asked["recipe"]
        assert (recipe["optimiser"], recipe["lr"], recipe["batch_size"]) == ("adam", 0.001, 32)
        pair = name.startswith("pair_")
        assert asked["data"]["scored"] == "test"
        assert asked["data"]["limit"] == (30000 if pair else 40000)
        assert asked["contexts"] == (2 if pair else 5)
        assert asked["scenario"] == ("task" if pair else name.split("_")[0])
    assert LAPTOP.seeds >= 10
    full = paper.PROFILES["full"]
    assert full.batch_size == 128 and full.epochs * 12000 / 128 == pytest.approx(2000, rel=0.02)


def test_lwf_has_the_weights_of_its_protocol():
    methods = {name: arm(0).arguments["method"] for name, arm in ARMS.items()}
    for name in ("task_lwf", "domain_lwf", "class_lwf", "task_shuffled"):
        assert methods[name]["weighting"] == "contexts"
    assert methods["pair_lwf"]["weighting"] == "paper"
    assert methods["task_shuffled"]["shuffled"] is True


def test_a_claim_has_its_arms_and_metrics():
    measured = {}
    for name in ARMS:
        measured[name] = set(paper.measure(name, a_trial(name)))
    for claim in claims_of("li2017lwf"):
        wanted = [*claim.quantities(), *(premise.quantity for premise in claim.premises)]
        for quantity in wanted:
            for arm, metric in parse(quantity)[1]:
                if arm != "parameters":
                    assert (metric or claim.metric) in measured[arm], (claim.id, quantity)


def test_trials_of_a_seed_share_order_and_weights(monkeypatch):
    seen = []
    real = trials.METHODS["fine_tune"]

    def watched(model, contexts, *given, **named):
        first = torch.cat([p.detach().flatten() for p in model.parameters()]).clone()
        seen.append((contexts.names, first))
        return real(model, contexts, *given, **named)

    monkeypatch.setitem(trials.METHODS, "fine_tune", watched)
    (
        a_trial("task_none"),
        a_trial("class_none"),
        a_trial("domain_none"),
        a_trial("task_none", seed=1),
    )
    (order, weights), (same, alike), (third, _), (other, unlike) = seen
    assert order == same == third != other
    assert weights.equal(alike) and not weights.equal(unlike)
    assert sorted(label for one in order for label in one) == list(range(10))


def test_pilots_read_no_test_image(monkeypatch):
    source = datasets.load("mnist")
    data = lifelong_spec("mnist", limit=400, evaluated=200, scored="validation")
    one = a_trial("task_lwf", data=data).metrics
    blank = datasets.Images(
        torch.zeros_like(source.test.images), source.test.labels, source.test.card
    )
    spoilt = dataclasses.replace(source, test=blank)
    monkeypatch.setattr(trials.datasets, "load", lambda name: spoilt)
    assert a_trial("task_lwf", data=data).metrics == one
    with pytest.raises(ValueError, match='scored must be "test" or "validation"'):
        lifelong_spec("mnist", scored="train")


def test_metrics_come_from_the_matrix():
    outcome = a_trial("task_none")
    rows = [outcome.series[f"matrix_{k}"] for k in range(1, 6)]
    assert [len(row) for row in rows] == [1, 2, 3, 4, 5]
    assert outcome.metrics["accuracy"] == pytest.approx(sum(rows[4]) / 5)
    assert outcome.metrics["first"] == rows[4][0] and outcome.metrics["last"] == rows[4][4]
    diagonal = [row[-1] for row in rows]
    assert outcome.metrics["learning"] == pytest.approx(sum(diagonal) / 5)
    assert outcome.metrics["least_learning"] == min(diagonal)
    joint = a_trial("task_joint")
    assert set(joint.metrics) == {"accuracy", "first", "last"} and set(joint.series) == {"matrix_5"}


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be"):
        a_trial("task_none", method={"name": "lfw"})


def test_quick_runs_three_arms():
    quick = paper.PROFILES["quick"]
    assert set(quick.arms) <= set(ARMS) and quick.seeds == 1
