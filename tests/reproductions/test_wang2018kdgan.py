"""KDGAN's arms: what they share, who teaches, what is measured; ten epochs of everything."""

from types import SimpleNamespace

import pytest
import torch

from kdnb import data as datasets
from kdnb import papers
from kdnb.data import ImageData, Images
from kdnb.papers.quantities import parse
from kdnb.reproductions import reproduce
from kdnb.reproductions import wang2018kdgan as kdgan
from kdnb.runs import trials
from kdnb.runs.functions.adversarial import epochs_needed
from kdnb.runs.task import built

LAPTOP = kdgan.PROFILES["laptop"]
ARMS = kdgan.arms(LAPTOP)
TRIALS = {name: arm(3) for name, arm in ARMS.items()}
METRICS = {"accuracy": set(ARMS), "epochs_needed": {"nagan", "kdgan", "more_kdgan"}}


def test_all_arms_see_the_same_labelled_images_equally_often():
    for name, trial in TRIALS.items():
        more = name.startswith("more")
        twin = TRIALS["more_student" if more else "student"].arguments
        assert trial.seed == 3
        assert trial.arguments["data"] == twin["data"], name
        assert trial.arguments["recipe"] == twin["recipe"], name
        assert trial.arguments["data"]["limit"] == (1000 if more else 100)
        assert trial.arguments["recipe"]["epochs"] == (60 if more else 300)


def test_who_learns_and_who_teaches():
    taught = {"distilled": "teacher", "kdgan": "teacher", "more_kdgan": "more_teacher"}
    small = {"name": "mlp", "widths": [128]}
    for name, trial in TRIALS.items():
        given = trial.arguments
        assert given.get("teacher") == TRIALS.get(taught.get(name)), name
        if name.endswith("codistilled"):
            assert given["networks"] == [small, kdgan.TEACHER]
        else:
            assert given["network"] == (kdgan.TEACHER if name.endswith("teacher") else small), name


def test_the_games_differ_in_the_teacher_alone():
    three, two = TRIALS["kdgan"].arguments, TRIALS["nagan"].arguments
    extra = {key: three[key] for key in ("teacher", "classifier_weight", "teacher_weight")}
    assert three == two | extra
    assert TRIALS["nagan"].function == TRIALS["kdgan"].function


def test_the_games_of_the_record_are_of_the_first_form_and_the_full_ones_of_todays():
    """There the classifier is the trained student, and the temperature falls."""
    full = kdgan.arms(kdgan.PROFILES["full"])
    students = {"nagan": "student", "kdgan": "student", "more_kdgan": "more_student"}
    for name, student in students.items():
        assert not {"start", "temperature"} & set(TRIALS[name].arguments)
        given = full[name](3).arguments
        assert given["start"].digest == full[student](3).digest
        assert given["temperature"] == [10.0, 0.1]


def test_the_claims_speak_of_these_arms_and_metrics():
    for claim in papers.claims_of("wang2018kdgan"):
        for quantity in claim.quantities():
            assert {arm for arm, _ in parse(quantity)[1]} <= METRICS[claim.metric]


def result(**metrics):
    return SimpleNamespace(metrics=metrics, description={"arguments": {"data": {"evaluated": 500}}})


def test_what_is_measured():
    found = kdgan.measure("student", result(test_errors=50.0))
    assert found == {"test_errors": 50, "accuracy": 90}
    found = kdgan.measure("codistilled", result(peer0_test_errors=100.0, peer1_test_errors=25.0))
    assert found == pytest.approx({"test_errors": 100, "accuracy": 80, "teacher_accuracy": 95})
    games = {"test_errors": 50.0, "epochs_needed": 7.0, "last_ten_test_errors": 60.0}
    found = kdgan.measure("kdgan", result(**games, teacher_test_errors=25.0))
    assert found == pytest.approx(
        {"test_errors": 50, "accuracy": 90, "epochs_needed": 7, "teacher_accuracy": 95}
    )


def test_epochs_needed_by_hand():
    assert epochs_needed([50.0, 30.0, 21.2, 20.9, 40.0, *[20.0] * 10]) == 4
    assert epochs_needed([5.0] * 12) == 1
    swinging = [60.0, 11.0, *[20.0, 10.0] * 5]
    assert epochs_needed(swinging) == 2  # 15 on average at the end, less a point
    assert epochs_needed([90.0, 80.0, 70.0]) == 2  # 80 on average, of all there are


@pytest.fixture
def small_world(monkeypatch, tmp_path):
    """A drawn stand-in for MNIST: 60 images of small digits and 30 to look at."""
    draw = torch.Generator().manual_seed(0)

    def images(count):
        pixels = torch.randint(0, 256, (count, 1, 28, 28), generator=draw, dtype=torch.uint8)
        return Images(pixels, torch.arange(count) % 10)

    train = images(60)
    source = ImageData(
        name="mnist", card=datasets.card("mnist"), train_all=train, train=train,
        validation=images(20), test=images(30), classes=tuple("0123456789"),
        mean=(0.5,), sd=(0.3,),
    )  # fmt: skip
    monkeypatch.setattr(datasets, "load", lambda name: source)
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    return source


@pytest.mark.usefixtures("small_world")
def test_ten_epochs_of_every_arm_of_the_full_profile():
    p = kdgan.PROFILES["full"].model_copy(
        update={"labelled": 32, "more_labelled": 48, "epochs": 10, "more_epochs": 10,
                "test_images": 100, "seeds": 1}
    )  # fmt: skip
    record = reproduce(kdgan.REPRODUCTION, p, profile="custom")
    assert set(record.arms) == set(kdgan.arms(p))
    for name, seeds in record.arms.items():
        metrics = seeds[0].metrics
        assert metrics["accuracy"] == pytest.approx(100 - metrics["test_errors"]), name
        assert ("epochs_needed" in metrics) == (name in METRICS["epochs_needed"])
        assert ("teacher_accuracy" in metrics) == name.endswith(("kdgan", "codistilled"))


@pytest.mark.usefixtures("small_world")
def test_classifier_and_teacher_of_the_game_start_where_they_should(monkeypatch):
    """At a rate of next to 0 the classifier is `supervised`'s, the teacher its own trial's."""
    p = kdgan.PROFILES["quick"].model_copy(update={"labelled": 32, "epochs": 10})
    trial = kdgan.arms(p)["kdgan"](4)
    still = trial.arguments["recipe"] | {"lr": 1e-12, "optimiser": "sgd"}
    found = trials.run(trials.Trial(trial.function, trial.arguments | {"recipe": still}, 4))
    fresh = built(trial.arguments["network"], datasets.load("mnist"), 4).state_dict()
    learnt = trials.run(trial.arguments["teacher"]).tensors()
    for key, value in found.tensors().items():
        part, _, rest = key.partition(".")
        if part == "network":
            torch.testing.assert_close(value, fresh[rest])
        elif part == "teacher":
            torch.testing.assert_close(value, learnt[f"network.{rest}"])
    assert len(found.series["test_errors"]) == 10
    assert found.metrics["last_ten_test_errors_sd"] == 0
    assert found.metrics["epochs_needed"] == 1
    first = {"start": kdgan.arms(p)["student"](4), "temperature": [10.0, 0.1]}
    found = trials.run(
        trials.Trial(trial.function, trial.arguments | {"recipe": still, **first}, 4)
    )
    kept, learnt = found.tensors(), trials.run(first["start"]).tensors()
    for key, value in learnt.items():
        if key.startswith("network."):
            torch.testing.assert_close(kept[key], value)
