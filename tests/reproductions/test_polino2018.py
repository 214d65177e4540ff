"""Polino's arms: what a seed's students share, which images nobody else sees, what is measured."""

import pytest
import torch

from kdnb import papers
from kdnb.data import load
from kdnb.methods.quantized import uniform, weights_of
from kdnb.papers.quantities import parse
from kdnb.papers.results import claims_of
from kdnb.reproductions import polino2018 as paper
from kdnb.reproductions import reproduce
from kdnb.runs import trials
from kdnb.runs.functions.quantized import _of_others
from kdnb.runs.task import network_of
from kdnb.training.inputs import examples_of

LAPTOP = paper.PROFILES["laptop"]
TINY = paper.Parameters(train_images=64, teacher_images=64, test_images=100, epochs=2, arms=[])


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    monkeypatch.setenv("KDNB_JOBS", "1")


def test_students_differ_in_the_condition_alone():
    arms = paper.arms(LAPTOP)
    shared = ("data", "network", "recipe")
    one = arms["full"](3).arguments
    for name in ("full_kd", "trained2", "distilled2", "distilled4", "shuffled2"):
        other = arms[name](3)
        assert all(other.arguments[key] == one[key] for key in shared), name
        assert other.seed == 3
    points = arms["points2"](3)
    assert points.arguments["start"].digest == arms["full_kd"](3).digest
    assert {k: v for k, v in points.arguments["recipe"].items() if k != "lr"} == {
        k: v for k, v in one["recipe"].items() if k != "lr"
    }
    assert arms["teacher"](0).digest == arms["teacher"](7).digest


def test_the_teacher_sees_none_of_the_students_images():
    arms = paper.arms(LAPTOP)
    students, teachers = (arms[name](0).arguments["data"] for name in ("full", "teacher"))
    assert teachers["limit"] <= students["skip"]
    assert students["skip"] + students["limit"] == paper.ALL == len(load("cifar10").train_all)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDNB_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("KDNB_JOBS", "1")
        made = reproduce(paper.REPRODUCTION, TINY, profile="custom")
        digest = paper.arms(TINY)["distilled2"](0).digest
        return made, network_of(trials.read(digest)), trials.read(digest)


def test_a_claim_has_its_arms_and_metrics(record):
    table = record[0].table()
    for claim in claims_of("polino2018"):
        wanted = [*claim.quantities(), *(premise.quantity for premise in claim.premises)]
        for quantity in wanted:
            for arm, metric in parse(quantity)[1]:
                assert (arm, metric or claim.metric) in table.columns, (claim.id, quantity)
    named = {arm for arm, _ in table.columns}
    assert named == (set(paper.arms(TINY)) - {"rounded", "rounded_kd"}) | paper.conditions(TINY)
    assert papers.claims_of("polino2018")


def test_what_is_kept_lies_on_points_and_is_measured(record):
    made, network, result = record
    for layer in weights_of(network).values():
        weight = layer.weight.detach()
        torch.testing.assert_close(uniform(weight, 2, 256), weight)
    table = made.table()
    row = table.iloc[0]
    assert row["distilled2", "test_accuracy"] == 100 * (1 - result.metrics["test_errors"] / 100)
    assert row["full", "bytes"] > 8 * row["distilled2", "bytes"]
    hard, soft = result.series["hard"], result.series["soft"]
    change = 100 * abs((hard[-1] + soft[-1]) / (hard[-2] + soft[-2]) - 1)
    assert row["distilled2", "last_change"] == pytest.approx(change)


def test_rounding_many_bits_changes_nothing():
    arms = paper.arms(TINY)
    full = trials.run(arms["full"](0))
    about = {**arms["rounded"](0).arguments, "roundings": {"all": {"bits": 16, "bucket": 256}}}
    result = trials.run(trials.Trial("rounded_student", about, 0))
    assert result.metrics["all_test_errors"] == full.metrics["test_errors"]


def test_answers_are_shuffled_within_labels():
    labels = torch.tensor([0, 1, 0, 1, 0, 0])
    answers = torch.arange(12.0).view(6, 2)
    mixed = _of_others(answers, labels, 1)
    for label in (0, 1):
        rows = (labels == label).nonzero()[:, 0]
        found, own = mixed[rows], answers[rows]
        assert sorted(found[:, 0].tolist()) == own[:, 0].tolist()
    assert not torch.equal(mixed, answers)
    assert torch.equal(_of_others(answers, labels, 1), mixed)


def test_a_student_of_the_record_starts_as_others_do_and_sees_its_images():
    arms, source = paper.arms(TINY), load("cifar10")
    images = examples_of(source, arms["full"](0).arguments["data"])
    assert torch.equal(images.labels, source.validation.labels[-64:])
