"""EKD: branch k with teacher k, by hand and on digits."""

import pytest
import torch
from several_teachers import QUICK, STEP, digits, lenet, mlp, state, teachers, unchanged
from torch import nn

from kdnb import losses, nets
from kdnb.methods import multi_teacher as mt
from kdnb.methods import online
from kdnb.training.layers import layers_of, look


def tiny(seed):
    torch.manual_seed(seed)
    return nets.build("tiny")


def branches(count=2):
    """Branches of the tiny convolutional network, from its second stage on."""
    return online.Branches.split([tiny(seed) for seed in range(count)], "stage2", digits()[0][:4])


def test_every_branch_learns_from_its_own_teacher():
    images, labels = digits()
    members = teachers("lenet", "lenet")
    before = [state(one) for one in members]
    student = branches()
    history = mt.ekd(
        student, members, digits(), STEP.model_copy(update={"batch_size": 120}), head_weight=0.5,
        soft_weight=0.25, temperature=2.0, feature_weight=1.0,
    )  # fmt: skip
    fresh = branches().train()
    with torch.no_grad():
        z = fresh(images).logits
        theirs = [member(images) for member in members]
    row = history[0]
    soft = [losses.soft_targets(z[:, k], theirs[k], 2.0) for k in range(2)]
    assert row["soft"] == pytest.approx(0.25 * float(sum(soft)), rel=1e-3)
    swapped = [losses.soft_targets(z[:, k], theirs[1 - k], 2.0) for k in range(2)]
    assert abs(row["soft"] - 0.25 * float(sum(swapped))) > 1e-4
    hard = [losses.hard_loss(z[:, k], labels) for k in range(2)]
    assert row["heads"] == pytest.approx(0.5 * float(sum(hard)), rel=1e-3)
    assert row["ensemble"] == pytest.approx(float(losses.hard_loss(z.mean(1), labels)), rel=1e-3)
    assert all(unchanged(*pair) for pair in zip(members, before, strict=True))


def test_the_maps_of_a_branch_and_of_its_teacher():
    images, _ = digits()
    members = [*teachers("lenet"), lenet(7, (2, 6, 8, 5))]
    history = mt.ekd(
        branches(), members, digits(), STEP.model_copy(update={"batch_size": 120}), seed=4,
        feature_weight=2.0,
    )  # fmt: skip
    fresh = branches().train()
    with torch.no_grad():
        maps = fresh(images).maps
        theirs = [look(member, layers_of(member), images).maps[-1] for member in members]
        torch.manual_seed(4)
        adapters = mt.TeachersMaps([m.shape for m in maps], [t.shape for t in theirs])
        expected = sum(losses.hint(*pair) for pair in adapters(maps, theirs))
    assert history[0]["features"] == pytest.approx(2 * float(expected), rel=1e-3)


def test_it_learns_and_deploys_without_teachers_and_adapters():
    student = branches()
    size = sum(p.numel() for p in student.parameters())
    history = mt.ekd(
        student, teachers("lenet", "mlp"), digits(), QUICK.model_copy(update={"epochs": 6}),
        feature_weight=0.0,
    )  # fmt: skip
    assert history[-1]["ensemble"] < 0.8 * history[0]["ensemble"]
    assert "features" not in history[0]
    answered = mt.AveragedBranches(student)
    assert sum(p.numel() for p in answered.parameters()) == size
    assert answered.eval()(digits()[0][:5]).shape == (5, 10)


def test_teachers_are_counted_and_maps_are_needed():
    with pytest.raises(ValueError, match="got 1 for 2"):
        mt.ekd(branches(), teachers("lenet"), digits(), QUICK)
    flat = online.Branches.split([mlp(0), mlp(1)], "hidden", digits()[0][:4])
    with pytest.raises(ValueError, match="shows no maps before its classifier"):
        mt.ekd(flat, teachers("mlp", "mlp"), digits(), QUICK)
    assert isinstance(flat, nn.Module)
