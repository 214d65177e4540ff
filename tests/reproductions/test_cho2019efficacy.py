"""Cho and Hariharan's arms: what stops early, what is shared with TAKD; one epoch of their own."""

import pytest
from few_pictures import few, sizes  # noqa: F401 - a fixture
from pydantic import ValidationError

from kdnb.reproductions import cho2019efficacy as cho
from kdnb.reproductions import mirzadeh2020takd as takd
from kdnb.reproductions import reproduce

LAPTOP = cho.PROFILES["laptop"]
ARMS = cho.arms(LAPTOP)


@pytest.mark.parametrize("profile", ["quick", "laptop", "full"])
def test_what_both_papers_speak_of_are_the_same_trials(profile):
    both = takd.arms(takd.PROFILES[profile])
    for name in cho.SHARED:
        assert cho.arms(cho.PROFILES[profile])[name](3) == both[name](3)
    assert set(ARMS) - set(both) == {"early_teacher", "taught_by_early_teacher", "stopped"}


def test_the_early_stopped_teacher_differs_in_its_epochs_alone():
    early, full = ARMS["early_teacher"](3), ARMS["largest_teacher"](3)
    assert early.arguments["recipe"] == full.arguments["recipe"] | {"epochs": 2}
    assert {**early.arguments, "recipe": None} == {**full.arguments, "recipe": None}
    student, control = ARMS["taught_by_early_teacher"](3), ARMS["taught_by_largest"](3)
    assert student.arguments == control.arguments | {"teacher": early}
    assert student.function == control.function


def test_early_stopped_distillation_differs_in_its_stop_alone():
    stopped, control = ARMS["stopped"](3), ARMS["taught_by_largest"](3)
    assert stopped.arguments == control.arguments | {"stop_epoch": 15}
    assert stopped.function == "early_stopped"
    assert sizes(stopped) == (8, 2)


def test_both_stops_lie_within_the_run():
    for profile in cho.PROFILES.values():
        assert 0 < profile.early_epochs < (profile.teacher_epochs or profile.epochs)
        assert 0 < profile.stop_epoch < profile.epochs


def test_unknown_parameters_are_refused():
    with pytest.raises(ValidationError, match="stop"):
        cho.Parameters(stop=3)


def test_two_epochs_of_the_arms_of_its_own(few):  # noqa: F811
    changed = {"epochs": 2, "early_epochs": 1, "stop_epoch": 1, "seeds": 1, "train_images": 64,
               "test_images": 30}  # fmt: skip
    parameters = cho.PROFILES["full"].model_copy(update=changed)
    own = ["taught_by_largest", "early_teacher", "taught_by_early_teacher", "stopped"]
    record = reproduce(cho.REPRODUCTION, parameters, profile="custom", arms=own)
    losses = {arm[0].metrics["test_cross_entropy"] for arm in record.arms.values()}
    assert len(losses) == len(own)
