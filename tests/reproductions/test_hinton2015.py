"""The arms of Hinton's and Müller's reproductions, their controls, and the fit to the targets."""

import dataclasses

import pytest
import torch

from kdnb import data as datasets
from kdnb import nets
from kdnb.reproductions import hinton2015 as hinton
from kdnb.reproductions import muller2019 as muller
from kdnb.runs import trials
from kdnb.runs.task import data_spec, network_of
from kdnb.training.inputs import examples_of, logits_on

LAPTOP = hinton.PROFILES["laptop"]
ARMS = hinton.arms(LAPTOP)
WIDE = ("student", "distilled", "wide_T2", "wide_T8", "wide_T40", "regressed",
        "distilled_by_untrained", "smoothed_student", "distilled_from_smoothed",
        "smoothed_T2")  # fmt: skip


@pytest.mark.parametrize("arm", WIDE)
def test_wide_students_learn_from_the_same_images_for_as_long(arm):
    trial, alone = ARMS[arm](3), ARMS["student"](3)
    for key in ("data", "network", "recipe"):
        assert trial.arguments[key] == alone.arguments[key], key
    assert trial.seed == alone.seed == 3


def test_temperatures_and_teachers_are_what_the_names_say():
    for arm, temperature in (("distilled", 20), ("wide_T2", 2), ("wide_T8", 8), ("wide_T40", 40),
                             ("narrow_T3", 3), ("smoothed_T2", 2)):  # fmt: skip
        assert ARMS[arm](0).arguments["loss"]["temperature"] == temperature
    teachers = {"distilled": "teacher", "wide_T2": "teacher", "no_3": "teacher", "few_soft": "teacher",
                "distilled_from_smoothed": "smoothed_teacher", "smoothed_T2": "smoothed_teacher",
                "distilled_by_untrained": "untrained_teacher"}  # fmt: skip
    for arm, teacher in teachers.items():
        assert ARMS[arm](2).arguments["teacher"] == ARMS[teacher](2), arm
    assert ARMS["smoothed_teacher"](2).arguments["smoothing"] == 0.1


def test_every_seed_has_a_teacher_of_its_own():
    assert len({ARMS["teacher"](seed).digest for seed in range(LAPTOP.seeds)}) == LAPTOP.seeds


def test_the_untrained_teacher_has_the_teachers_form_and_nothing_else():
    ours, theirs = ARMS["untrained_teacher"](1).arguments, ARMS["teacher"](1).arguments
    assert ours["network"]["widths"] == theirs["network"]["widths"]
    assert set(ours) == {"data", "network"}


@pytest.mark.parametrize("arm", ["no_3", "only_7_8", "few_soft", "student"])
def test_no_validation_image_is_learnt_from(arm):
    source = datasets.load("mnist")
    held_out = {bytes(image.numpy()) for image in source.validation.images}
    images = examples_of(source, ARMS[arm](0).arguments["data"]).images
    assert not held_out & {bytes(image.numpy()) for image in images}


def test_the_whole_of_mnist_leaves_the_validation_images_out_where_a_bias_is_tuned():
    whole = hinton.arms(hinton.PROFILES["full"])
    assert whole["student"](0).arguments["data"] == data_spec("mnist")
    assert whole["no_3"](0).arguments["data"] == data_spec("mnist", split="train", without=(3,))


def test_muller_compares_runs_of_hintons():
    theirs = muller.arms(LAPTOP)
    assert {"teacher", "smoothed_teacher", "distilled", "distilled_from_smoothed", "wide_T2",
            "smoothed_T2"} < set(theirs)  # fmt: skip
    assert all(theirs[name](5) == ARMS[name](5) for name in theirs)


@pytest.fixture
def taught(tmp_path, monkeypatch):
    """The results of a small teacher and of its student, by arm."""
    monkeypatch.setenv("KDNB_RUNS", str(tmp_path))
    small = hinton.Parameters(
        train_images=1000, teacher_width=20, student_width=15, teacher_epochs=1, student_epochs=1
    )
    chosen = {name: hinton.arms(small)[name](0)
              for name in ("teacher", "distilled", "untrained_teacher")}  # fmt: skip
    results = trials.run_all(chosen.values())
    return {name: results[trial.digest] for name, trial in chosen.items()}


def test_the_fit_to_the_targets_is_measured_on_the_training_images(taught):
    measured = hinton.measure("distilled", taught["distilled"])
    source = datasets.load("mnist")
    images = source.train_all.select(slice(1000))
    z, v = (logits_on(network_of(taught[name]), images, source).double()
            for name in ("distilled", "teacher"))  # fmt: skip
    assert measured["targets_missed"] == sum(
        a.argmax() != b.argmax() for a, b in zip(z, v, strict=True)
    )
    off = total = 0.0
    for a, b in zip(z, v, strict=True):
        a, b = a - sum(a) / 10, b - sum(b) / 10
        off, total = off + float(sum((a - b) ** 2)), total + float(sum(b**2))
    assert measured["targets_explained"] == pytest.approx(1 - off / total, abs=1e-5)
    assert "targets_missed" not in hinton.measure("teacher", taught["teacher"])


def test_a_student_that_is_its_teacher_has_fitted_all_targets(taught):
    again = taught["teacher"]
    arguments = {**again.description["arguments"], "teacher": {"trial": again.description}}
    same = dataclasses.replace(again, description={**again.description, "arguments": arguments})
    found = hinton.measure("distilled", same)
    assert (found["targets_missed"], found["targets_explained"]) == (0.0, 1.0)


def test_an_untrained_teacher_has_its_initial_weights(taught):
    result = taught["untrained_teacher"]
    assert result.series == {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fresh = nets.build("mlp", widths=[20, 20], image_size=28)
    for key, value in fresh.state_dict().items():
        assert torch.equal(result.tensors()[f"network.{key}"], value), key
    assert result.metrics["test_errors"] > 7000
