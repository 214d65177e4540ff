"""The fair comparison: who takes part, the paired tests by hand, and how weights are tuned."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdnb import papers
from kdnb.methods import catalogue
from kdnb.methods.catalogue import METHODS
from kdnb.methods.names import common, former
from kdnb.papers.quantities import parse
from kdnb.reproductions import tian2020crd as fair
from kdnb.training import NonFiniteLoss

QUICK = fair.Parameters()


@pytest.fixture
def tuned(monkeypatch):
    found = {former(name): {"weight": 1.0 + i} for i, name in enumerate(fair.COMPARED)}
    monkeypatch.setattr(fair, "weights", lambda: {"weights": found})
    return found


def test_every_loss_takes_part_but_those_left_out(tuned):
    assert set(fair.COMPARED) | set(fair.LEFT_OUT) == set(METHODS)
    assert not set(fair.COMPARED) & set(fair.LEFT_OUT)
    arms = fair.arms(QUICK)
    expected = {fair.arm_of(m, s) for m in ("student", *fair.COMPARED) for s in ("resnet", "vgg")}
    assert set(arms) == expected


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
            for shared in ("data", "network", "recipe"):
                assert trial.arguments[shared] == plain.arguments[shared]
            assert trial.arguments["teacher"] == fair.teacher(QUICK)
            assert trial.arguments["method"] == method
            assert trial.arguments["weight"] == tuned[former(method)]["weight"]
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


def test_the_methods_of_today_have_runs_of_their_own(tuned):
    """Nothing recorded of a method in its first form is taken for what it is today."""
    first, today = fair.arms(fair.Parameters()), fair.arms(fair.Parameters(revised=True))
    for student in fair.STUDENTS:
        for method in fair.COMPARED:
            arm = fair.arm_of(method, student)
            one, two = first[arm](3), today[arm](3)
            changed = METHODS[method].revision > 1 or method in fair.FIRST_STAGES
            assert (one.digest != two.digest) == changed, method
            assert "revision" not in one.arguments
    assert [name for name, profile in fair.PROFILES.items() if not profile.revised] == ["laptop"]


@pytest.mark.parametrize("method", ["ab", "fsp"])
def test_two_stages_take_as_many_epochs_as_one(tuned, method):
    p = fair.Parameters(revised=True, compare_epochs=14)
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
        method, steps = one.arguments["method"], steps_of(one)
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


def steps_of(one):
    """How many doublings a trial's weight lies above the method's first one."""
    return round(math.log2(one.arguments["weight"] / start_of(one.arguments["method"])))


def test_tuning_goes_on_beyond_the_end_where_the_best_lies(bench):
    bench.errors = lambda method, steps: 300 + (10 if method == "crd" else -10) * steps
    found = fair.tune(QUICK)
    assert set(found["weights"]) == {former(name) for name in fair.COMPARED}
    assert found["seed"] == fair.TUNING_SEED and found["student"] == "vgg"
    assert found["parameters"] == QUICK.model_dump()
    for method, one in found["weights"].items():
        assert one["origin"] == ("published" if catalogue.method(method).weight else "first value")
        factor = 1 / 256 if method == "crd" else 64
        assert one["weight"] == pytest.approx(factor * start_of(method))
        errors = one["held_out_errors"]
        assert len(errors) == 6
        assert min(errors.values()) == errors[f"{one['weight']:g}"]


def test_tuning_looks_on_both_sides_of_a_best_within(bench):
    bench.errors = lambda method, steps: 300 + 10 * abs(steps - 1)
    for method, one in fair.tune(QUICK)["weights"].items():
        tried = [float(weight) / start_of(method) for weight in one["held_out_errors"]]
        assert tried == pytest.approx([1 / 16, 1 / 4, 1 / 2, 1, 2, 4], rel=1e-4)
        assert one["weight"] == pytest.approx(2 * start_of(method))


def test_tuning_uses_no_recorded_seed(bench):
    fair.tune(QUICK)
    assert fair.TUNING_SEED not in range(fair.PROFILES["full"].seeds)
    for student, ran in (("vgg", True), ("resnet", False)):
        trial = fair.trial(QUICK, "rkd", student, 1.0, fair.TUNING_SEED)
        assert (trial.digest in bench.done) == ran


def test_a_diverging_run_counts_as_the_worst_and_stops_nobody(bench):
    bench.errors = lambda method, steps: 300 - 10 * steps
    lost = {"fitnets", "rkd", fair.COMPARED[0], fair.COMPARED[-1]}
    bench.diverges = lambda method, steps: method in lost and steps == 2
    found = fair.tune(QUICK)["weights"]
    assert len(bench.done) == 6 * len(fair.COMPARED) - len(lost)
    for method, one in found.items():
        assert one["weight"] == pytest.approx(
            start_of(method) * (2 if common(method) in lost else 64)
        )
        if common(method) in lost:
            assert one["held_out_errors"][f"{4 * start_of(method):g}"] == QUICK.test_images


def test_another_failure_is_not_swallowed(bench, monkeypatch):
    def broken(one):
        raise RuntimeError("no space left on device")

    monkeypatch.setattr(fair.trials, "run", broken)
    with pytest.raises(RuntimeError, match="no space left"):
        fair.tune(QUICK)


def test_the_committed_weights_are_the_best_of_those_tried():
    found = fair.weights()
    assert set(found["weights"]) >= {former(name) for name in fair.COMPARED}
    assert found["parameters"] == fair.PROFILES["laptop"].model_dump(
        mode="json", exclude={"revised"}
    )
    for method, one in found["weights"].items():
        errors = one["held_out_errors"]
        assert errors[f"{one['weight']:g}"] == min(errors.values()), method
        # Of a method that has changed since, the weight belongs to its first form.
        if one["origin"] == "published" and catalogue.method(method).revision == 1:
            assert f"{catalogue.method(method).weight:g}" in errors, method
