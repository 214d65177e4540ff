"""TAKD's arms: who teaches whom along which chain, what they share; one epoch of them all."""

from types import SimpleNamespace

import pytest
from few_pictures import few, sizes  # noqa: F401 - a fixture
from pydantic import ValidationError

from kdnb.reproductions import mirzadeh2020takd as takd
from kdnb.reproductions import reproduce

ARMS = takd.arms(takd.PROFILES["laptop"])


def test_every_arm_is_the_chain_that_it_is_named_after():
    found = {name: sizes(arm(3)) for name, arm in ARMS.items()}
    assert found == {
        "student": (2,),
        "teacher4": (4,), "taught_by_4": (4, 2), "teacher6": (6,), "taught_by_6": (6, 2),
        "teacher8": (8,), "taught_by_8": (8, 2), "teacher10": (10,), "taught_by_10": (10, 2),
        "assistant8": (10, 8), "via_8": (10, 8, 2), "assistant6": (10, 6), "via_6": (10, 6, 2),
        "assistant4": (10, 4), "via_4": (10, 4, 2), "full_path": (10, 8, 6, 4, 2),
    }  # fmt: skip


def test_arms_differ_in_their_chains_alone():
    setting = takd.setting(takd.PROFILES["laptop"])
    recipe = {name: setting[name] for name in ("data", "recipe")}
    for name, arm in ARMS.items():
        trial = arm(3)
        while trial is not None:
            arguments = dict(trial.arguments)
            assert arguments.pop("network")
            assert trial.seed == 3, name
            teacher = arguments.pop("teacher", None)
            assert arguments == (setting if teacher else recipe)
            trial = teacher
    assert len({arm(3).digest for arm in ARMS.values()}) == len(ARMS)


def test_chains_share_their_beginnings():
    arms = {name: arm(3) for name, arm in ARMS.items()}
    assert arms["via_8"].arguments["teacher"] == arms["assistant8"]
    assert arms["assistant4"].arguments["teacher"] == arms["teacher10"]
    first_of_path = arms["full_path"]
    while len(sizes(first_of_path)) > 2:
        first_of_path = first_of_path.arguments["teacher"]
    assert first_of_path == arms["assistant8"]


def measured(**data):
    metrics = {"test_errors": 50.0, "train_errors": 8.0, "train_images": 64.0,
               "test_cross_entropy": 1.5}  # fmt: skip
    description = {"arguments": {"data": data}}
    return takd.measure("student", SimpleNamespace(metrics=metrics, description=description))


def test_errors_are_shares_of_the_images_that_were_looked_at():
    assert measured(evaluated=200) == {
        "test_error": 25.0, "train_error": 12.5, "test_cross_entropy": 1.5,
    }  # fmt: skip
    assert measured()["test_error"] == 0.5


def test_other_data_sets_are_refused():
    with pytest.raises(ValidationError, match="dataset"):
        takd.Parameters(dataset="imagenet")


def test_one_epoch_of_every_arm_of_the_full_profile(few):  # noqa: F811
    changed = {"epochs": 1, "seeds": 1, "train_images": 64, "test_images": 30}
    parameters = takd.PROFILES["full"].model_copy(update=changed)
    record = reproduce(takd.REPRODUCTION, parameters, profile="custom")
    assert set(record.arms) == set(ARMS)
    found = [arm[0].metrics for arm in record.arms.values()]
    assert all(0 < metrics["test_error"] <= 100 for metrics in found)
    assert len({metrics["test_cross_entropy"] for metrics in found}) == len(
        ARMS
    )  # every arm trained a network of its own
