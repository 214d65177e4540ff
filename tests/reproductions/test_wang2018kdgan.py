"""KDGAN's conditions: what they share, who teaches, what is measured; ten epochs of everything."""

import copy
import importlib
from types import SimpleNamespace

import pytest
import torch

import kdnb.methods.adversarial
from kdnb import data as datasets
from kdnb import papers
from kdnb.data import ImageData, Images
from kdnb.papers.quantities import parse
from kdnb.reproductions import reproduce
from kdnb.reproductions import wang2018kdgan as kdgan
from kdnb.runs import trials
from kdnb.runs.functions.adversarial import epochs_needed
from kdnb.runs.functions.online import peer_seed
from kdnb.runs.task import built

LAPTOP = kdgan.PROFILES["laptop"]
ARMS = kdgan.arms(LAPTOP)
TRIALS = {name: arm(3) for name, arm in ARMS.items()}
GAMES = {name for name in ARMS if any(game in name for game in ("kdgan", "nagan", "codistilled"))}
SMALL = {"name": "mlp", "widths": [128]}


def metrics_of(name):
    found = {"accuracy", "train_error", "cross_entropy"}
    if name in GAMES:
        found |= {"epochs_needed"} | (set() if "nagan" in name else {"teacher_accuracy"})
    return found


def test_all_arms_of_a_seed_see_the_same_images_and_those_of_two_seeds_none_alike():
    for name, trial in TRIALS.items():
        few = {"skip": 3000, "limit": 100}
        expected = few | ({"limit": 1000} if name.startswith("more") else {})
        assert expected.items() <= trial.arguments["data"].items(), name
    assert "skip" not in ARMS["student"](0).arguments["data"]
    for name in ("kdgan", "codistilled"):  # the trials that it starts from
        for parent in TRIALS[name].parents():
            assert parent.arguments["data"] == TRIALS[name].arguments["data"]


def test_every_classifier_takes_the_same_steps():
    """Twice the epochs, or as many from a start of as many; only untrained ones' games differ."""
    for name, trial in TRIALS.items():
        each = LAPTOP.more_epochs if name.startswith("more") else LAPTOP.epochs
        epochs = trial.arguments["recipe"]["epochs"]
        if start := trial.arguments.get("start"):
            assert (epochs, start.arguments["recipe"]["epochs"]) == (each, each), name
        elif "scratch" in name:
            assert epochs == LAPTOP.fresh_epochs
        else:
            assert epochs == (each if name.endswith("start") else 2 * each), name


def test_every_teacher_takes_the_same_steps():
    for name in ("distilled", "codistilled", "kdgan"):
        trial = TRIALS[name]
        own = trial.arguments["teacher"].arguments["recipe"]["epochs"]
        assert own + (trial.arguments["recipe"]["epochs"] if name in GAMES else 0) == 120
    assert TRIALS["distilled"].arguments["teacher"] == TRIALS["teacher"]


def test_co_distillation_is_the_game_with_labels_in_the_critics_place():
    critic = ("critic", "critic_start", "temperature")
    three = TRIALS["kdgan"].arguments
    assert TRIALS["codistilled"].arguments == {k: v for k, v in three.items() if k not in critic}


def test_the_games_differ_in_the_teacher_alone():
    for two, three in (("nagan", "kdgan"), ("nagan_from_scratch", "kdgan_from_scratch")):
        extra = {
            key: TRIALS[three].arguments[key]
            for key in ("teacher", "classifier_weight", "teacher_weight")
        }
        assert TRIALS[three].arguments == TRIALS[two].arguments | extra
    assert TRIALS["nagan"].arguments["start"] == TRIALS["start"]
    assert TRIALS["nagan"].arguments["critic_start"].seed != TRIALS["start"].seed


def test_in_the_controls_the_teacher_is_untrained():
    for name, control in (
        ("distilled", "distilled_by_untrained"),
        ("kdgan", "kdgan_with_untrained"),
    ):
        ours, theirs = TRIALS[name].arguments, TRIALS[control].arguments
        assert ours | {"teacher": theirs["teacher"]} == theirs
        assert theirs["teacher"].arguments["recipe"]["lr"] == 1e-12
        assert theirs["teacher"].arguments["recipe"]["epochs"] == 1


def test_the_claims_speak_of_these_arms_and_metrics():
    for claim in papers.claims_of("wang2018kdgan"):
        for quantity in [*claim.quantities(), *(premise.quantity for premise in claim.premises)]:
            for arm, metric in parse(quantity)[1]:
                assert arm in ARMS
                assert (metric or claim.metric) in metrics_of(arm)


def test_what_is_measured():
    about = {"arguments": {"data": {"evaluated": 500}}}
    found = {"test_errors": 50.0, "train_errors": 3.0, "train_images": 60.0,
             "test_cross_entropy": 0.7}  # fmt: skip
    expected = {"accuracy": 90, "train_error": 5, "cross_entropy": 0.7}
    measured = kdgan.measure("student", SimpleNamespace(metrics=found, description=about))
    assert measured == pytest.approx(expected)
    found |= {"epochs_needed": 7.0, "teacher_test_errors": 25.0}
    measured = kdgan.measure("kdgan", SimpleNamespace(metrics=found, description=about))
    assert measured == pytest.approx(expected | {"epochs_needed": 7, "teacher_accuracy": 95})


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
def test_ten_epochs_of_every_arm():
    p = kdgan.PROFILES["laptop"].model_copy(
        update={"labelled": 32, "more_labelled": 48, "epochs": 10, "more_epochs": 10,
                "fresh_epochs": 10, "test_images": 100, "seeds": 1}
    )  # fmt: skip
    record = reproduce(kdgan.REPRODUCTION, p, profile="custom")
    assert set(record.arms) == set(kdgan.arms(p))
    for name, seeds in record.arms.items():
        assert set(seeds[0].metrics) == metrics_of(name), name


@pytest.mark.usefixtures("small_world")
def test_the_players_start_where_they_should(monkeypatch):
    """At a rate of next to 0 everybody ends as it came: from its own trial, or untrained."""
    p = kdgan.PROFILES["quick"].model_copy(update={"labelled": 32, "epochs": 10})
    seen = {}
    module = importlib.import_module("kdnb.runs.functions.adversarial")

    def spied(classifier, teacher, critic, *rest, **options):
        seen["critic"] = copy.deepcopy(critic)
        return kdnb.methods.adversarial.kdgan(classifier, teacher, critic, *rest, **options)

    monkeypatch.setattr(module, "kdgan", spied)
    trial = kdgan.arms(p)["kdgan"](0)
    still = trial.arguments["recipe"] | {"lr": 1e-12, "optimiser": "sgd"}

    def ends(arguments):
        found = trials.run(trials.Trial(trial.function, {**arguments, "recipe": still}, 0))
        assert len(found.series["validation_errors"]) == 10
        assert found.metrics["epochs_needed"] == 1
        return found.tensors()

    def learnt(name):
        return trials.run(trial.arguments[name]).tensors()

    kept = ends(trial.arguments)
    for name, part in (("start", "network"), ("teacher", "teacher")):
        for key, value in learnt(name).items():
            if key.startswith("network."):
                torch.testing.assert_close(kept[key.replace("network", part, 1)], value)
    for key, value in seen["critic"].state_dict().items():
        torch.testing.assert_close(value, learnt("critic_start")[f"network.{key}"])

    fresh = {k: v for k, v in trial.arguments.items() if k not in ("start", "critic_start")}
    kept, source = ends(fresh), datasets.load("mnist")
    for key, value in built(SMALL, source, 0).state_dict().items():
        torch.testing.assert_close(kept[f"network.{key}"], value)
    for key, value in built(SMALL, source, peer_seed(0, 1)).state_dict().items():
        torch.testing.assert_close(seen["critic"].state_dict()[key], value)
