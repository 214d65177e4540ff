"""The fair comparison: who takes part, the paired tests by hand, and how weights are tuned."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from kdnb import nets, papers
from kdnb.methods import catalogue
from kdnb.methods.catalogue import METHODS
from kdnb.papers.quantities import parse
from kdnb.reproductions import tian2020crd as fair
from kdnb.runs import trials
from kdnb.runs.task import network_of
from kdnb.training import NonFiniteLoss

QUICK = fair.Parameters()


@pytest.fixture
def tuned(monkeypatch):
    found = {
        student: {name: {"weight": first + i} for i, name in enumerate(fair.COMPARED)}
        for student, first in zip(fair.STUDENTS, (1.0, 100.0), strict=True)
    }
    monkeypatch.setattr(fair, "weights", lambda: {"weights": found})
    return found


def test_every_loss_takes_part_but_those_left_out(tuned):
    assert set(fair.COMPARED) | set(fair.LEFT_OUT) == set(METHODS)
    assert not set(fair.COMPARED) & set(fair.LEFT_OUT)
    arms = fair.arms(QUICK)
    expected = {fair.arm_of(m, s) for m in ("student", *fair.COMPARED) for s in ("resnet", "vgg")}
    random = {f"random_{m}_{s}" for m in ("kd", "fitnets") for s in ("resnet", "vgg")}
    assert set(arms) == expected | random | {"teacher"}


def test_the_claims_speak_of_these_arms(tuned):
    known = set(fair.arms(QUICK))
    for claim in papers.claims_of("tian2020crd"):
        for criterion in claim.criteria:
            assert {arm for arm, _ in parse(criterion.quantity)[1]} <= known


def test_arms_of_a_student_differ_in_the_method_alone(tuned):
    arms = fair.arms(QUICK)
    for student, setting in fair.STUDENTS.items():
        plain = arms[f"student_{student}"](3)
        for method in fair.COMPARED:
            trial = arms[fair.arm_of(method, student)](3)
            assert trial.seed == plain.seed == 3
            for shared in ("data", "network"):
                assert trial.arguments[shared] == plain.arguments[shared]
            if method in fair.FIRST_STAGES:
                continue  # below
            assert trial.arguments["recipe"] == plain.arguments["recipe"]
            assert trial.arguments["teacher"] == fair.teacher(QUICK)
            assert trial.arguments["method"] == method
            assert trial.arguments["weight"] == tuned[student][method]["weight"]
            assert trial.arguments.get("hard_weight", 1.0) == (
                0.0 if METHODS[method].alone else 1.0
            )
            assert trial.arguments.get("student_maps") == setting["maps"]


def test_accuracy_is_of_the_images_looked_at():
    def measured(errors, evaluated):
        description = {"arguments": {"data": {"evaluated": evaluated}}}
        metrics = {"test_errors": errors, "validation_errors": 9.0}
        return fair.measure("any", SimpleNamespace(description=description, metrics=metrics))

    assert measured(100.0, 500) == {"test_errors": 100.0, "accuracy": 80.0}
    assert measured(100.0, None)["accuracy"] == 99.0


@pytest.mark.parametrize("method", fair.RANDOM)
def test_the_control_differs_in_its_teacher_alone(tuned, method):
    arms = fair.arms(QUICK)
    one, control = arms[f"{method}_vgg"](3), arms[f"random_{method}_vgg"](3)
    assert control.arguments | {"teacher": None} == one.arguments | {"teacher": None}
    teachers = [one.arguments["teacher"], control.arguments["teacher"]]
    assert [teacher.function for teacher in teachers] == ["shipped", "untrained"]
    assert teachers[0].arguments["network"] == teachers[1].arguments["network"]
    assert control.arguments["teacher"] != arms[f"random_{method}_vgg"](4).arguments["teacher"]


def test_the_teacher_is_the_one_of_the_card(monkeypatch, tmp_path):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    result = trials.run(fair.teacher(QUICK))
    shipped, card = nets.restore("wrn-16-2", "cifar10")
    assert result.description["arguments"]["sha256"] == card.sha256
    found = network_of(result)
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, shipped[name], rtol=0, atol=0)
    rate, seen = card.test_errors / card.test_images, QUICK.test_images
    spread = (rate * (1 - rate) / seen) ** 0.5
    assert abs(result.metrics["test_errors"] / seen - rate) < 3 * spread  # of the first test images
    other = fair.teacher(QUICK)
    changed = trials.Trial("shipped", {**other.arguments, "sha256": "0" * 64}, 0)
    with pytest.raises(ValueError, match="check out the commit that the run was made with"):
        trials.run(changed)


def test_a_random_teacher_knows_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    result = trials.run(fair.random_teacher(QUICK, 0))
    assert result.metrics["test_errors"] > 0.75 * QUICK.test_images
    assert not result.series


@pytest.mark.parametrize("method", ["ab", "fsp"])
def test_two_stages_take_as_many_epochs_as_one(tuned, method):
    p = fair.Parameters(epochs=14)
    second = fair.trial(p, method, "vgg", 2.0, 3)
    first, plain = second.arguments["start"], fair.trial(p, "student", "vgg", None, 3)
    assert (second.function, first.function) == ("supervised", "transferred")
    assert first.arguments["method"] == f"{method}_stage1" and first.arguments["hard_weight"] == 0.0
    assert first.seed == second.seed == plain.seed
    epochs = [one.arguments["recipe"]["epochs"] for one in (first, second, plain)]
    assert epochs == [4, 10, 14]
    for key in ("data", "network"):
        assert first.arguments[key] == second.arguments[key] == plain.arguments[key]


# --- the paired tests ----------------------------------------------------------------------------


@pytest.fixture
def table():
    """Made up: six seeds, two methods well above or below, the rest noise."""
    draw = np.random.default_rng(0)
    columns = {}
    for student in fair.STUDENTS:
        seed_effect = draw.normal(0, 2, 6)  # what pairing takes away
        for method in ("student", *fair.COMPARED):
            shift = {"crd": 3.0, "fitnets": -3.0}.get(method, 0.0)
            columns[fair.arm_of(method, student), "accuracy"] = (
                50 + shift + seed_effect + draw.normal(0, 0.3, 6)
            )
            columns[fair.arm_of(method, student), "test_errors"] = draw.normal(0, 1, 6)
    return pd.DataFrame(columns).rename_axis(columns=["arm", "metric"])


def holm(p):
    """Step down by hand: the k-th smallest of m times m - k + 1, never below an earlier one."""
    adjusted, worst = {}, 0.0
    for k, name in enumerate(sorted(p, key=p.__getitem__)):
        worst = max(worst, min(1.0, (len(p) - k) * p[name]))
        adjusted[name] = worst
    return adjusted


@pytest.mark.parametrize("control", ["student", "kd"])
@pytest.mark.parametrize("student", fair.STUDENTS)
def test_against_by_hand(table, student, control):
    accuracy = table.xs("accuracy", axis=1, level="metric")
    found = fair.against(table, student, control)
    others = [name for name in ("student", *fair.COMPARED) if name != control]
    assert sorted(found["method"]) == sorted(others)
    p = {}
    for row in found.itertuples():
        gap = accuracy[fair.arm_of(row.method, student)] - accuracy[fair.arm_of(control, student)]
        mean, error = gap.mean(), gap.std(ddof=1) / math.sqrt(6)
        half = stats.t.ppf(0.975, 5) * error
        p[row.method] = 2 * stats.t.sf(abs(mean / error), 5)
        assert row.accuracy == pytest.approx(accuracy[fair.arm_of(row.method, student)].mean())
        assert (row.difference, row.low, row.high) == pytest.approx(
            (mean, mean - half, mean + half)
        )
    expected = holm(p)
    for row in found.itertuples():
        assert row.p_holm == pytest.approx(expected[row.method])
        significant = {True: "above", False: "below"}[row.difference > 0]
        verdict = significant if expected[row.method] < 0.05 else "no difference shown"
        assert row.verdict == verdict
    verdicts = found.set_index("method")["verdict"]
    assert (verdicts["crd"], verdicts["fitnets"]) == ("above", "below")
    assert found["accuracy"].is_monotonic_decreasing


def test_a_difference_that_only_one_test_would_show_is_not_shown(table):
    """Holm: p between 0.05 / m and 0.05 is no finding among m methods."""
    quiet = table.copy()
    base = quiet["student_resnet", "accuracy"]
    for method in fair.COMPARED:
        quiet[fair.arm_of(method, "resnet"), "accuracy"] = base + np.array(
            [1, -1, 0.5, -0.5, 0.2, -0.2]
        )
    quiet["rkd_resnet", "accuracy"] = base + np.array([1.0, 0.2, 0.9, 0.1, 0.8, 0.5])
    row = fair.against(quiet, "resnet", "student").set_index("method").loc["rkd"]
    gap = quiet["rkd_resnet", "accuracy"] - base
    assert stats.ttest_1samp(gap, 0).pvalue < 0.05
    assert row.low > 0 and row.p_holm > 0.05 and row.verdict == "no difference shown"


# --- tuning --------------------------------------------------------------------------------------


@pytest.fixture
def bench(monkeypatch):
    """Trials that only note that they ran; what they give, and which diverge, is set by a test."""
    done = {}
    made = SimpleNamespace(errors=lambda method, steps: 100, diverges=lambda *_: False, done=done)

    def run(one):
        method, steps = method_of(one), steps_of(one)
        if made.diverges(method, steps):
            raise NonFiniteLoss("the loss became nan")
        done[one.digest] = made.errors(method, steps)

    def finished(one):
        if one.digest not in done:
            return None
        return SimpleNamespace(metrics={"validation_errors": float(done[one.digest])})

    monkeypatch.setattr(fair.trials, "run", run)
    monkeypatch.setattr(fair.trials, "finished", finished)
    monkeypatch.setattr(fair, "_first_value", lambda p, method, student: 0.0123)
    return made


def start_of(method):
    return catalogue.method(method).weight or 200.0  # log(10) / 0.0123 = 187, to one digit


def method_of(one):
    return _taught(one)["method"].removesuffix("_stage1")


def steps_of(one):
    """How many doublings a trial's weight lies above the method's first one."""
    return round(math.log2(_taught(one)["weight"] / start_of(method_of(one))))


def _taught(one):
    """The arguments of the stage that a method teaches."""
    return one.arguments["start"].arguments if "start" in one.arguments else one.arguments


def test_tuning_goes_on_beyond_the_end_where_the_best_lies(bench):
    bench.errors = lambda method, steps: 300 + (10 if method == "crd" else -10) * steps
    for method in fair.COMPARED:
        one = fair.tuned(QUICK, method, "vgg")
        assert one["origin"] == ("published" if catalogue.method(method).weight else "first value")
        factor = 1 / 64 if method == "crd" else 64
        assert one["weight"] == pytest.approx(factor * start_of(method))
        errors = one["held_out_errors"]
        assert len(errors) == 4
        assert min(errors.values()) == errors[f"{one['weight']:g}"]


@pytest.mark.parametrize("slope, fourth", [(1, 4), (-1, 1 / 4)])
def test_tuning_looks_towards_the_better_neighbour_of_a_best_within(bench, slope, fourth):
    bench.errors = lambda method, steps: 300 + 10 * abs(steps) - slope * steps
    for method in fair.COMPARED:
        one = fair.tuned(QUICK, method, "resnet")
        tried = [float(weight) / start_of(method) for weight in one["held_out_errors"]]
        assert tried == pytest.approx(sorted([1 / 8, 1, 8, fourth]), rel=1e-4)


def test_tuning_uses_no_recorded_seed(bench):
    fair.tuned(QUICK, "rkd", "vgg")
    assert fair.TUNING_SEED not in range(max(p.seeds for p in fair.PROFILES.values()))
    for student, ran in (("vgg", True), ("resnet", False)):
        trial = fair.trial(QUICK, "rkd", student, 1.0, fair.TUNING_SEED)
        assert (trial.digest in bench.done) == ran


def test_a_diverging_run_counts_as_the_worst(bench):
    bench.errors = lambda method, steps: 300 - 10 * steps
    bench.diverges = lambda method, steps: method == "rkd" and steps == 3
    lost, found = (fair.tuned(QUICK, method, "vgg") for method in ("rkd", "pkt"))
    assert len(bench.done) == 4 * 2 - 1
    assert lost["weight"] == pytest.approx(start_of("rkd"))
    assert found["weight"] == pytest.approx(64 * start_of("pkt"))
    assert lost["held_out_errors"][f"{8 * start_of('rkd'):g}"] == 10000


def test_another_failure_is_not_swallowed(bench, monkeypatch):
    def broken(one):
        raise RuntimeError("no space left on device")

    monkeypatch.setattr(fair.trials, "run", broken)
    with pytest.raises(RuntimeError, match="no space left"):
        fair.tuned(QUICK, "rkd", "vgg")


def test_the_committed_weights_are_the_best_of_those_tried():
    found = fair.weights()
    assert found["parameters"] == fair.PROFILES["laptop"].model_dump(mode="json")
    assert set(found["weights"]) == set(fair.STUDENTS)
    for student in fair.STUDENTS:
        assert set(found["weights"][student]) == set(fair.COMPARED)
        for method, one in found["weights"][student].items():
            errors = one["held_out_errors"]
            assert errors[f"{one['weight']:g}"] == min(errors.values()), method
            if one["origin"] == "published":
                assert f"{catalogue.method(method).weight:g}" in errors, method


def test_a_best_weight_lies_at_an_end_or_within(monkeypatch):
    tried = {"0.125": 9, "1": 9, "16": 9, "8": 9}  # as text 16 comes before 8
    found = {"low": 0.125, "middle": 8.0, "high": 16.0}
    one = {name: {"weight": weight, "held_out_errors": tried} for name, weight in found.items()}
    monkeypatch.setattr(fair, "weights", lambda: {"weights": {"vgg": one}})
    table = fair.places()
    assert table["student"].tolist() == ["vgg"] * 3
    assert dict(zip(table["method"], table["weight"], strict=True)) == found
    assert table["place"].tolist() == ["smallest", "within", "largest"]


def test_every_committed_weight_has_a_place():
    table = fair.places()
    assert len(table) == len(fair.STUDENTS) * len(fair.COMPARED)
    assert set(table["place"]) == {"smallest", "largest", "within"}
