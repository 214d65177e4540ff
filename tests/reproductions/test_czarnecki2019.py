"""The arms of policy distillation: what a seed draws, who teaches whom, and what claims read."""

from types import SimpleNamespace

import numpy as np
import pytest

from kdnb.methods.applications.policy import PolicyFit, value_of
from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import czarnecki2019 as paper
from kdnb.reproductions import reproduce
from kdnb.runs.functions import policies

TINY = paper.Parameters(side=6, teacher_steps=2000, episodes=10)
ARGUMENTS = paper.arms(TINY)["worlds"](0).arguments


def test_a_claim_has_its_arms_and_metrics(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path / "runs"))
    table = reproduce(paper.REPRODUCTION, TINY, profile="custom").table()
    for claim in claims_of("czarnecki2019"):
        for quantity in [*claim.quantities(), *(one.quantity for one in claim.premises)]:
            for arm, metric in parse(quantity)[1]:
                assert (arm, metric or claim.metric) in table.columns, (claim.id, quantity)


def test_worlds_are_passed_over_for_their_teachers_alone():
    world, teacher = ARGUMENTS["world"], ARGUMENTS["teacher"]
    made, policy, about = policies.drawn_world(3, world, teacher)
    again = policies.drawn_world(3, world, teacher)
    assert np.array_equal(policy, again[1]) and about == again[2]
    assert about["teacher"] >= 50
    assert about["random"] == pytest.approx(
        100 * value_of(made, np.full(policy.shape, 0.25)) / value_of(made, policy)
    )
    strict = policies.drawn_world(3, world, {**teacher, "least": 90})[2]
    assert strict["teacher"] >= 90 and strict["passed"] >= about["passed"]
    other = policies.drawn_world(4, world, teacher)[0]
    assert not np.array_equal(made.cells, other.cells)


def test_a_teacher_that_no_world_has(monkeypatch):
    monkeypatch.setattr(policies, "WORLDS", 3)
    with pytest.raises(ValueError, match="in none of 3 worlds has Q-learning 101%"):
        policies.drawn_world(3, ARGUMENTS["world"], {**ARGUMENTS["teacher"], "least": 101})


def test_a_trial_is_a_function_of_its_seed_and_students_share_a_world():
    one, same, other = (policies.policy_trial(None, seed, **ARGUMENTS) for seed in (1, 1, 2))
    assert one.metrics == same.metrics and one.series == same.series
    assert one.metrics != other.metrics
    starts = {name: values[0] for name, values in one.series.items()}
    assert starts["student_driven"] == starts["teacher_driven"] == starts["rewards_alone"]
    assert starts["cloned"] == starts["rewarded"] == starts["entropy"] != starts["student_driven"]


def test_when_a_student_is_taught():
    fit = PolicyFit(np.zeros((1, 4)), [0, 5, 10, 15], [0, 60, 100, 130], [])
    found = policies._summary(fit, [10, 80, 92, 88])
    assert found == pytest.approx({
        "final": 88, "share": 260 / 3, "episodes": 10, "steps": 100, "doublings": np.log2(10),
        "stepdoublings": np.log2(100),
    })  # fmt: skip
    never = policies._summary(fit, [10, 20, 30, 40])
    assert never["episodes"] == 15 and never["steps"] == 130
    at_once = policies._summary(fit, [95, 96, 97, 98])
    assert at_once["episodes"] == 5  # the first look after an episode


def test_measures_have_the_names_of_their_student():
    metrics = {"student_driven_share": 0.5, "world_random": 3.0, "cloned_stepdoublings": 7.0}
    assert paper.measure("worlds", SimpleNamespace(metrics=metrics)) == {
        "student_driven.share": 0.5, "world.random": 3.0, "cloned.stepdoublings": 7.0,
    }  # fmt: skip
    assert paper.LAPTOP.seeds >= 10 and paper.conditions(TINY) == {*paper.students(TINY), "world"}
