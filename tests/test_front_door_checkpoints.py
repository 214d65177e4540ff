"""Checkpoints of the front door's verbs: each goes on for its own run alone."""

import copy

import pytest
import torch
from test_front_door import QUICK, linear, tensors

import kdnb


def checkpointed(file, **changes):
    options = {"method": "kd", "temperature": 4, "label_weight": 1.0, **QUICK, **changes}
    student, teacher = options.pop("student", linear(0)), options.pop("teacher", linear(1))
    return kdnb.distil(student, teacher, options.pop("data", tensors()), checkpoint=file, **options)


OTHERS = {
    "method": {"method": "dkd"},
    "option": {"temperature": 2},
    "weight": {"weight": 0.5},
    "labels": {"label_weight": 0.5},
    "teacher": {"teacher": linear(2)},
    "student": {"student": linear(3)},
    "data": {"data": tensors(32)},
    "recipe": {"lr": 0.1},
    "seed": {"seed": 1},
}


def test_a_checkpoint_goes_on_for_its_own_run_alone(tmp_path):
    file = tmp_path / "c"
    first = checkpointed(file)
    again = checkpointed(file)
    assert again.history.equals(first.history)  # the seconds, too: nothing was trained
    ours, theirs = again.networks["student"], first.networks["student"]
    assert torch.equal(ours[1].weight, theirs[1].weight)
    for what, change in OTHERS.items():
        with pytest.raises(ValueError, match="belongs to another run") as caught:
            checkpointed(file, **copy.deepcopy(change))
        assert "\n" not in str(caught.value), what


def test_a_checkpoint_of_another_loss_or_teacher_function_is_refused(tmp_path):
    file = tmp_path / "c"

    def mean(z, v):
        return (z - v).square().mean()

    def double(z, v):
        return 2 * (z - v).square().mean()

    run = {"data": tensors(), "label_weight": 0, "checkpoint": file, **QUICK}
    kdnb.distil(linear(0), linear(1), method=mean, **run)
    kdnb.distil(linear(0), linear(1), method=mean, **run)
    with pytest.raises(ValueError, match="belongs to another run"):
        kdnb.distil(linear(0), linear(1), method=double, **run)
    with pytest.raises(ValueError, match="belongs to another run"):
        kdnb.distil(linear(0), lambda x: torch.zeros(len(x), 3), method=mean, **run)
