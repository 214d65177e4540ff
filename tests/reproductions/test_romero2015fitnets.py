"""The arms of FitNets' reproduction: who starts where, in how many stages, and what is measured."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from kdnb import losses
from kdnb.reproductions import romero2015fitnets as romero

SMALL = romero.Parameters()
ARMS = romero.arms(SMALL)
KINDS = ("backprop", "kd", "hints", "one_stage")


def test_four_ways_from_two_starts_and_one_teacher():
    names = {f"{kind}_{start}" for kind in KINDS for start in ("uniform", "he")}
    assert set(ARMS) == names | {"teacher"}
    for name in names:
        network = ARMS[name](0).arguments["network"]
        assert network == {
            "name": "fitnet_mnist", "irange": 0.005 if name.endswith("uniform") else None
        }  # fmt: skip


def test_one_teacher_serves_all_seeds():
    assert ARMS["teacher"](0) == ARMS["teacher"](6)
    teachers = {one.digest for name in ARMS for seed in (0, 3) for one in _teachers(name, seed)}
    assert teachers == {ARMS["teacher"](0).digest}
    assert ARMS["kd_he"](0).digest != ARMS["kd_he"](3).digest


def _teachers(name, seed):
    trial = ARMS[name](seed)
    return [trial.arguments["teacher"]] if "teacher" in trial.arguments else []


@pytest.mark.parametrize("start", ["uniform", "he"])
def test_hints_are_two_stages_of_one_seed(start):
    second = ARMS[f"hints_{start}"](4)
    first = second.arguments["start"]
    assert (first.seed, second.seed) == (4, 4)
    assert first.function == "transferred" and second.function == "distilled"
    assert first.arguments["hard_weight"] == 0  # no label is read in the first stage
    assert first.arguments["method"] == "hint_regression"
    assert (first.arguments["student_maps"], first.arguments["teacher_maps"]) == (
        ["layers.3"], ["layers.1"],
    )  # fmt: skip
    assert first.parents() == [ARMS["teacher"](0)]
    alone = ARMS[f"kd_{start}"](4).arguments
    for key in ("data", "network", "teacher", "loss", "soft_weight", "hard_weight"):
        assert second.arguments[key] == alone[key], key


@pytest.mark.parametrize("kind", KINDS)
def test_every_student_gets_the_same_epochs_and_images(kind):
    trial = ARMS[f"{kind}_he"](0)
    stages = [trial.arguments, *([trial.arguments["start"].arguments] if kind == "hints" else [])]
    assert sum(stage["recipe"]["epochs"] for stage in stages) == SMALL.student_epochs
    for stage in stages:
        assert stage["data"] == ARMS["backprop_he"](0).arguments["data"]
        assert _without_epochs(stage) == _without_epochs(ARMS["backprop_he"](0).arguments)


def _without_epochs(stage):
    return {k: v for k, v in stage["recipe"].items() if k != "epochs"}


def test_the_soft_weight_is_the_papers_lambda_in_our_units():
    """lambda·H(p, q) and soft_weight·T²·KL(p || q) have one gradient, with lambda from 4 to 1."""
    arguments = ARMS["kd_uniform"](0).arguments
    temperature = arguments["loss"]["temperature"]
    assert temperature == 3
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 10, dtype=torch.float64)
    student.requires_grad_()
    for weight, decayed in zip(arguments["soft_weight"], (4, 1), strict=True):
        ours = weight * losses.soft_targets(student, teacher, temperature)
        theirs = decayed * F.cross_entropy(
            student / temperature, F.softmax(teacher / temperature, 1)
        )
        pair = [torch.autograd.grad(loss, student)[0] for loss in (ours, theirs)]
        torch.testing.assert_close(*pair)


def test_what_the_arms_learn_from_and_are_judged_on():
    for name, arm in ARMS.items():
        assert arm(0).arguments["data"].get("limit") in (1000, 2000), name
    laptop = romero.PROFILES["laptop"]
    arms = romero.arms(laptop)
    assert arms["teacher"](0).arguments["data"]["split"] == "train"
    assert "evaluated" not in arms["kd_he"](0).arguments["data"]
    assert laptop.seeds >= 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hint_epochs": 8}, "hint_epochs .8. must leave epochs of student_epochs .8."),
        ({"train_images": 50001}, "less than or equal to 50000"),
        ({"seeds": 0}, "greater than or equal to 1"),
        ({"student_epoch": 3}, "Extra inputs"),
        ({"seeds": 2.0}, "valid integer"),
    ],
)
def test_wrong_parameters_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        romero.Parameters(**change)


def test_measure_keeps_what_claims_ask_for():
    result = SimpleNamespace(
        metrics={"test_errors": 61.0, "validation_errors": 7.0, "train_errors": 0.0},
        series={"hard": [2.3, 0.25], "soft": [1.0, 0.5]},
    )
    assert romero.measure("kd_he", result) == {
        "test_errors": 61.0, "train_errors": 0.0, "final_loss": 0.25,
    }  # fmt: skip
