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
        "largest_teacher": (8,), "taught_by_largest": (8, 2),
        "assistant6": (8, 6), "via_6": (8, 6, 2), "assistant4": (8, 4), "via_4": (8, 4, 2),
        "full_path": (8, 6, 4, 2),
        "wide_teacher4": (4,), "taught_by_wide_4": (4, 2),
        "own_teacher": (8,), "taught_by_own": (8, 2), "via_own_4": (8, 4, 2),
    }  # fmt: skip


def test_arms_differ_in_their_chains_alone():
    """Every student learns alike; those who teach learn alike, from more images but for `own`."""
    p = takd.PROFILES["laptop"]
    students, teachers = takd.student_setting(p), takd.teacher_setting(p)
    for name, arm in ARMS.items():
        trial = arm(3)
        while trial is not None:
            arguments = dict(trial.arguments)
            is_student = arguments.pop("network") == {"name": "plain2"}
            assert trial.seed == 3, name
            teacher = arguments.pop("teacher", None)
            own = students if is_student or "own" in name else teachers
            assert arguments == (own | takd.LOSS if teacher else own)
            trial = teacher
    assert len({arm(3).digest for arm in ARMS.values()}) == len(ARMS)
    assert (students["data"]["limit"], teachers["data"]["limit"]) == (2000, 20000)
    assert (students["recipe"]["flip"], teachers["recipe"]["flip"]) == (False, True)


def test_the_wide_teacher_is_the_small_one_with_more_channels():
    wide, small = ARMS["wide_teacher4"](3), ARMS["teacher4"](3)
    assert wide.arguments == small.arguments | {"network": {"name": "plain4", "width": 2}}


def test_at_the_papers_scale_all_learn_from_the_same_images():
    p = takd.PROFILES["full"]
    assert takd.teacher_setting(p) == takd.student_setting(p)
    found = takd.arms(p)
    assert set(ARMS) - set(found) == {
        "wide_teacher4", "taught_by_wide_4", "own_teacher", "taught_by_own", "via_own_4"
    }  # fmt: skip
    assert set(found) - set(ARMS) == {"teacher8", "taught_by_8", "assistant8", "via_8"}
    assert sizes(found["full_path"](3)) == (10, 8, 6, 4, 2)


def test_epochs_of_teachers_without_their_images_are_refused():
    with pytest.raises(ValidationError, match="teacher_epochs needs teacher_images"):
        takd.Parameters(teacher_epochs=3)


def test_chains_share_their_beginnings():
    arms = {name: arm(3) for name, arm in ARMS.items()}
    assert arms["via_6"].arguments["teacher"] == arms["assistant6"]
    assert arms["assistant4"].arguments["teacher"] == arms["largest_teacher"]
    first_of_path = arms["full_path"]
    while len(sizes(first_of_path)) > 2:
        first_of_path = first_of_path.arguments["teacher"]
    assert first_of_path == arms["assistant6"]


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
    assert set(record.arms) == set(takd.arms(parameters))
    found = [arm[0].metrics for arm in record.arms.values()]
    assert all(0 < metrics["test_error"] <= 100 for metrics in found)
    # Every arm trained a network of its own.
    assert len({metrics["test_cross_entropy"] for metrics in found}) == len(found)
